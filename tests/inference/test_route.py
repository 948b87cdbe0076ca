# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A hospital without a server makes its model from a routing-space file, and the same as the executor would."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.inference.personal_model import load_personal_model
from flare_mri.networks import build_network
from flare_mri.route import main
from flare_mri.routing.outside import Outside
from flare_mri.routing.space import GLOBAL, RoutingSpace, load_routing_space, save_routing_space
from flare_mri.segment import main as segment

SPEC = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {"in_channels": 3, "out_channels": 2, "norm": "batch", "channels": 4, "num_pools": 2},
}
SETTINGS = """
site: hospital-9
data: {format: prostate, root: scans, spatial_size: [32, 32]}
cache: {folder: cache}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scans").mkdir()
    random = np.random.default_rng(0)
    for number in range(2):
        image = nibabel.Nifti1Image((1000 * random.random((20, 36, 7))).astype(np.int16), np.diag([1.0, 1, 3, 1]))
        nibabel.save(image, tmp_path / "scans" / f"Case{number:02d}.nii.gz")
    (tmp_path / "site.yaml").write_text(SETTINGS)
    experts = {name: build_network(SPEC, seed).state_dict() for seed, name in enumerate(("site-1", "site-2", GLOBAL))}
    for state in experts.values():  # half of the pixels are marked: nothing collapses
        state["decoder.output.bias"].zero_()
    save_routing_space(tmp_path / "space.safetensors", RoutingSpace(SPEC, experts))
    return tmp_path


def words(folder: Path, *more: str) -> list[str]:
    where = ["--site", str(folder / "site.yaml"), "--scans", str(folder / "scans"), "--out", str(folder / "out")]
    return [str(folder / "space.safetensors"), *where, *more]


@pytest.mark.parametrize("strategy", ["matched", "published"])
def test_model_and_labels_are_written(
    folder: Path, strategy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    monkeypatch.setattr(Outside, "__init__", _watched(Outside.__init__, seen))
    assert main(words(folder, "--strategy", strategy, "--epochs", "1")) == 0
    printed = capsys.readouterr()
    assert "Case01: read, 7 slices" in printed.out and len(seen[0]) == 14
    names = {path.name for path in (folder / "out").iterdir()}
    assert names >= {"personal.safetensors", "Case00_segmentation.nii.gz", "Case01_segmentation.nii.gz"}
    model = load_personal_model(folder / "out" / "personal.safetensors")
    assert (model.site, model.job) == ("hospital-9", "route")
    if "the global model is used" not in printed.err:
        assert bool(model.experts) == (strategy == "published")
    again = [str(folder / "out" / "personal.safetensors"), "--site", str(folder / "site.yaml")]
    assert segment([*again, "--scans", str(folder / "scans"), "--out", str(folder / "again")]) == 0
    for number in range(2):
        made, later = (folder / out / f"Case{number:02d}_segmentation.nii.gz" for out in ("out", "again"))
        assert np.array_equal(nibabel.load(made).get_fdata(), nibabel.load(later).get_fdata())


@pytest.mark.parametrize(("strategy", "expected"), [("matched", 0.15), ("published", 0.2)])
def test_models_that_failed_at_home_predict_nothing_good(
    folder: Path, strategy: str, expected: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """As much as each counts: without BatchNorm all personal models alike; routers mix the global model in."""
    space = load_routing_space(folder / "space.safetensors")
    dice = {"site-1": 0.1, "site-2": 0.2, GLOBAL: 0.3}
    save_routing_space(folder / "space.safetensors", replace(space, dice=dice))
    assert main(words(folder, "--strategy", strategy, "--epochs", "0")) == 0
    printed = capsys.readouterr()
    own = load_personal_model(folder / "out" / "personal.safetensors").own_dice
    mixed = "the global model is used" not in printed.err
    assert own == pytest.approx(expected if mixed else 0.3, abs=0.05)
    assert printed.err.count("in the test volumes of the hospitals it learned at: it has not learned this well") == 2


def _watched(original, seen):
    def watched(self, space, slices, settings, device):
        assert isinstance(settings, AdaptationSettings) and all(isinstance(one, torch.Tensor) for one in slices)
        seen.append(slices)
        original(self, space, slices, settings, device)

    return watched


def test_what_is_there_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(folder)) == 0
    before = (folder / "out" / "personal.safetensors").read_bytes()
    capsys.readouterr()
    assert main(words(folder)) == 2
    assert "expected a folder without results" in capsys.readouterr().err
    assert (folder / "out" / "personal.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda folder: (folder / "space.safetensors").write_bytes(b"x"), "space.safetensors"),
        (lambda folder: (folder / "space.safetensors").unlink(), "no such file"),
        (
            lambda folder: (folder / "site.yaml").write_text(SETTINGS.replace(", spatial_size: [32, 32]", "")),
            "data.spatial_size: expected [height, width]",
        ),
        (lambda folder: (folder / "site.yaml").unlink(), "site.yaml"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(
    folder: Path, break_it, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(folder)
    assert main(words(folder)) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and error.startswith("error: ")
    assert not (folder / "out").exists()


def test_a_scan_that_cannot_be_read_costs_the_others_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "scans" / "Case00.nii.gz").write_bytes(b"x")
    assert main(words(folder)) == 2
    printed = capsys.readouterr()
    first, *_, last = printed.err.splitlines()
    assert first.startswith("error: ") and "Case00.nii.gz" in first
    assert last == "error: 1 of 2 scans failed, as told above; fix or move them"
    assert printed.err.count("Case00.nii.gz") == 1  # it is not read again
    assert "Case01: read, 7 slices" in printed.out
    made = {path.name for path in (folder / "out").iterdir()}
    assert {"personal.safetensors", "Case01_segmentation.nii.gz"} <= made and "Case00_segmentation.nii.gz" not in made


def test_no_scan_that_can_be_read_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for scan in (folder / "scans").iterdir():
        scan.write_bytes(b"x")
    assert main(words(folder)) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: expected scans that can be read, got none of 2 scans")
    assert not (folder / "out").exists()
