# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site.yaml that is written from a folder is taken by a site's own checks, and says what was guessed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from cases import label_of, write_case
from flare_mri.config.segmentation import ORGAN
from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.io.formats import FORMATS, SEGMENTATION
from flare_mri.program.main import main
from flare_mri.training import TrainingSettings, build_task

Sample = Callable[[str], Path]
IN_FILES = [name for name, entry in FORMATS.items() if entry.write_sample is not None]


def init(folder: Path, *options: str) -> str:
    """Writes site.yaml beside the folder; returns its text."""
    out = folder.parent / "site.yaml"
    assert main(["site", "init", str(folder), "--out", str(out), *options]) == 0
    return out.read_text()


def load(folder: Path, site: str = "site-1") -> SiteConfig:
    return load_site_config(folder.parent / "site.yaml", site)


@pytest.mark.parametrize("name", IN_FILES)
def test_what_is_written_for_a_format_passes_the_site_s_checks(name: str, sample: Sample) -> None:
    folder = sample(name)
    text = init(folder)
    config = load(folder)
    assert config.data.format == name and config.data.find_root() == folder
    assert all(len(line) <= 120 for line in text.splitlines() if "root:" not in line and "datalist:" not in line)
    assert f"format: {name} " in text and "# guess: " in text
    for task in FORMATS[name].tasks:
        organs = tuple(config.data.find_labels() or (ORGAN,)) if task == SEGMENTATION else (ORGAN,)
        made = build_task(task, config, 0, training=TrainingSettings(organs=organs))
        assert all(len(made.dataset(split)) for split in ("train", "validation", "test"))  # type: ignore[arg-type]


def test_names_and_sizes_that_are_given_are_taken(sample: Sample) -> None:
    text = init(sample("prostate"), "--site", "hospital-1", "--spatial_size", "48", "32")
    given = yaml.safe_load(text)
    assert given["site"] == "hospital-1" and given["data"]["spatial_size"] == [48, 32]


def test_nothing_is_overwritten(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sample("prostate")
    out = folder.parent / "site.yaml"
    out.write_text("mine")
    assert main(["site", "init", str(folder), "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert out.read_text() == "mine" and f"{out}: expected no such file" in told.err and told.err.count("\n") == 1


def test_a_folder_of_no_known_format_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    out = tmp_path / "site.yaml"
    for folder, told in ((tmp_path / "data", "name it with --format"), (tmp_path / "no", "expected a folder of data")):
        assert main(["site", "init", str(folder), "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert told in error and str(folder) in error and error.count("\n") == 1 and not out.exists()


def test_labels_of_several_values_are_told_and_can_be_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for number in range(4):
        write_case(folder, f"Case{number}", label_of(1, 2))
    assert "labels: {organ_1: 1, organ_2: 2}   instead" in init(folder)
    assert load(folder).data.find_labels() is None


@pytest.mark.parametrize(
    ("values", "key", "value"), [((1, 4), "merge_labels", True), ((3,), "labels", {"organ": 3}), ((1,), "labels", None)]
)
def test_values_that_a_list_does_not_name(tmp_path: Path, values: tuple[int, ...], key: str, value: object) -> None:
    folder, rows = tmp_path / "data", {}
    for section in ("training", "validation", "test"):
        write_case(folder, section, label_of(*values))
        rows[section] = [{"image": f"{section}.nii.gz", "label": f"{section}_segmentation.nii.gz"}]
    (folder / "datalist.json").write_text(json.dumps(rows))
    text = init(folder, "--format", "decathlon")
    assert yaml.safe_load(text)["data"].get(key) == value
    assert build_task(SEGMENTATION, load(folder), 0)


def test_a_value_255_beside_others_is_taken_as_unknown(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for number in range(3):
        write_case(folder, f"Case{number}", label_of(1, 255))
    init(folder)
    assert load(folder).data.ignore_label == 255  # type: ignore[attr-defined]


def test_one_subject_with_a_label_is_an_outside_site(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_case(folder, "Case0", label_of(1))
    init(folder)
    split = load(folder).split
    assert (split.train, split.test, split.by) == (0, 1, "volume") and build_task(SEGMENTATION, load(folder), 0)


def test_thick_slices_tell_their_axis_and_contrasts_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("sub-01_T1w", "sub-01_T2w", "sub-02_T1w"):
        write_case(folder, name, None, np.diag([1, 4.0, 1, 1]), (24, 6, 20))
    text = init(folder)
    data = yaml.safe_load(text)["data"]
    assert data["slice_axis"] == 1 and data["spatial_size"] == [24, 20]
    assert 'contrasts: T1w (2), T2w (1); include: ["*_T1w*"] takes one' in text
