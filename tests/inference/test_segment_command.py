# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""flare-mri segment: what it prints and writes, and what wrong input, a damaged scan or a second run costs."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flare_mri.config.site import load_site_config
from flare_mri.errors import InputError
from flare_mri.inference.application import Wanted
from flare_mri.inference.opening import open_application
from flare_mri.inference.personal_model import PERSONAL_FILE, load_personal_model
from flare_mri.inference.quality import Calibration
from flare_mri.inference.segmentation import Segmenter
from flare_mri.segment import main
from flare_mri.training import SiteStore
from segmentation_model import other_state, plain, scans, settings, written


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, model, out = scans(tmp_path / "scans"), plain(), tmp_path / "out"
    settings(tmp_path, tmp_path)
    words = [written(model, tmp_path), "--site", tmp_path / "site.yaml", "--scans", folder, "--out", out]
    assert main([str(word) for word in words]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "segmentation: iopfl's model of site-1; 2 scans" and len(printed) == 7
    assert printed[1].startswith("2 of them in the data of site.yaml")
    assert all("predicted Dice 0." in line for line in printed[2:4]) and "of 2 scans with a warning" in printed[4]
    assert printed[5].startswith("predicted Dice ranks these scans")
    assert {path.name for path in out.iterdir()} == {
        "Case00_segmentation.nii.gz",
        "Case01_segmentation.nii.gz",
        "overview.png",
    }
    before = (out / "Case00_segmentation.nii.gz").read_bytes()
    assert main([str(word) for word in words]) == 2
    assert "Case00_segmentation.nii.gz: expected a folder without results" in capsys.readouterr().err
    assert (out / "Case00_segmentation.nii.gz").read_bytes() == before


def test_a_doubtful_result_is_told_by_the_models_own_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scans(tmp_path / "scans", count=1)
    settings(tmp_path, tmp_path)
    trusting, wary = Calibration(0.9, 0.0, 1.0, 0.0), Calibration(0.5, 0.5, 20.0, 0.7)
    for calibration, number in ((trusting, 0), (wary, 1)):
        model = written(replace(plain(), calibration=calibration), tmp_path / str(number))
        words = [model, "--site", tmp_path / "site.yaml", "--scans", folder, "--out", tmp_path / f"out{number}"]
        assert main([str(word) for word in words]) == 0
        told = capsys.readouterr()
        assert f"{number} of 1 scan with a warning" in told.out
        assert told.err.count("do not use this result without looking at every slice") == number
    damaged = replace(plain(), calibration=wary)
    described = {**damaged.description(), "calibration": {"top": 2.0}}
    store = SiteStore(tmp_path / "store", "iopfl", "site-1")
    store.save_model(PERSONAL_FILE, damaged.state, described)
    with pytest.raises(InputError, match="calibration: expected top, middle, steepness, threshold"):
        load_personal_model(store.path(PERSONAL_FILE))


def test_of_two_runs_at_once_none_overwrites_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run, of another model, starts and ends while this one has looked for files and not written yet."""
    folder, out = scans(tmp_path / "scans"), tmp_path / "new" / "out"
    settings(tmp_path, tmp_path)
    models = [written(plain(), tmp_path / "one"), written(replace(plain(), state=other_state()), tmp_path / "two")]
    words = [[model, "--site", tmp_path / "site.yaml", "--scans", folder, "--out", out] for model in models]
    apply, seen = Segmenter.apply, {}

    def slow(segmenter: Segmenter, number: int) -> Any:
        result = apply(segmenter, number)
        if not seen:
            seen["begun"] = b""
            assert main([str(word) for word in words[1]]) == 0
            seen.update({path.name: path.read_bytes() for path in out.iterdir()})
        return result

    monkeypatch.setattr(Segmenter, "apply", slow)
    capsys.readouterr()
    assert main([str(word) for word in words[0]]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 3 and "2 of 2 scans failed" in lines[2]
    for line in lines[:2]:
        assert "_segmentation.nii.gz: expected no such file, got one; nothing was overwritten" in line
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {k: v for k, v in seen.items() if k != "begun"}
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600} and len(seen) == 4
    assert out.stat().st_mode & 0o777 == out.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    folder, out = scans(tmp_path / "scans", count=1), tmp_path / "out"
    out.mkdir(mode=0o755)
    settings(tmp_path, tmp_path)
    words = [written(plain(), tmp_path), "--site", tmp_path / "site.yaml", "--scans", folder, "--out", out]
    assert main([str(word) for word in words]) == 0
    assert out.stat().st_mode & 0o777 == 0o755 and {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}


def test_a_scan_that_is_cut_short_costs_the_others_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, model, out = scans(tmp_path / "scans", count=3), plain(), tmp_path / "out"
    damaged = folder / "Case01.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    settings(tmp_path, folder)
    words = [written(model, tmp_path), "--site", tmp_path / "site.yaml", "--scans", folder, "--out", out]
    assert main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert str(damaged) in lines[0] and lines[1].startswith("error: 1 of 3 scans failed") and len(lines) == 2
    assert {p.name.split("_")[0] for p in out.iterdir()} == {"Case00", "Case02", "overview.png"}


def test_wrong_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, model = scans(tmp_path / "scans"), plain()
    config = settings(tmp_path, folder)
    with pytest.raises(InputError, match="got one of segmentation"):
        open_application(model, config, folder, Wanted(undersampled=True))
    with pytest.raises(InputError, match=r"site 'site-1': scans: expected a file or a folder, got .*nowhere"):
        open_application(model, config, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected DICOM series, NIfTI files or files of"):
        open_application(model, config, tmp_path / "empty")
    (tmp_path / "site.yaml").write_text(f"data: {{format: nifti, root: {folder}}}\n")
    with pytest.raises(InputError, match="for a segmentation job, got 'nifti'"):
        open_application(model, load_site_config(tmp_path / "site.yaml", "site-1"), folder)
    words = [str(tmp_path / "none"), "--site", str(tmp_path / "site.yaml"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_model_of_the_other_task_is_told_before_pytorch_is_imported(tmp_path: Path) -> None:
    settings(tmp_path, tmp_path)
    words = ["reconstruct", str(written(plain(), tmp_path)), "--site", str(tmp_path / "site.yaml"), "--out", "out"]
    code = f"import sys; from flare_mri.program.main import main; print(main({words}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "2 False\n" and done.stderr.count("\n") == 1
    assert "expected one of reconstruction, got one of segmentation; say flare-mri segment" in done.stderr


@pytest.mark.parametrize("content", ["", "notes.txt"])
def test_a_folder_without_scans_is_told_by_the_option(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, empty = scans(tmp_path / "scans"), tmp_path / "empty"
    settings(tmp_path, folder)
    empty.mkdir()
    if content:
        (empty / content).write_text("no scan")
    words = [written(plain(), tmp_path), "--site", tmp_path / "site.yaml", "--scans", empty, "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 2
    told = capsys.readouterr().err
    assert (
        f"scans: {empty}: expected " in told and "DICOM" in told and "data.root" not in told and told.count("\n") == 1
    )
