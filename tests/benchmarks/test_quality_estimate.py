# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the predicted Dice makes its whole table from a tiny routing space and phantoms."""

from itertools import product
from pathlib import Path

import contrast_check
import pytest
import quality_estimate

from flare_mri.networks import build_network
from flare_mri.routing.space import GLOBAL, RoutingSpace, save_routing_space

SPEC = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {"in_channels": 3, "out_channels": 2, "norm": "batch", "channels": 2, "num_pools": 2},
}
SITE = """
data: {format: phantom, subjects: 12, spatial_size: [32, 32], slices: {step: 4}}
split: {train: 0.25, validation: 0.25, test: 0.5, by: volume}
cache: {folder: cache}
"""


def write_space(folder: Path) -> list[str]:
    """Three sites and a space of the first two; their folders."""
    names = ["one", "two", "three"]
    for name in names:
        (folder / name).mkdir()
        (folder / name / "site.yaml").write_text(SITE)
    experts = {name: build_network(SPEC, seed).state_dict() for seed, name in enumerate((*names[:2], GLOBAL))}
    for state in experts.values():  # half of the pixels are marked
        state["decoder.output.bias"].zero_()
    save_routing_space(folder / "space.safetensors", RoutingSpace(SPEC, experts, dice=dict.fromkeys(experts, 0.8)))
    return [str(folder / name) for name in names]


def rows_of(told: str) -> dict[str, list[str]]:
    return {line.split("  ")[0]: line.split() for line in told[told.index("true Dice") :].splitlines()[1:]}


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *inside, outside = write_space(tmp_path)
    options = ["--threshold", "0.6"]
    quality_estimate.main([str(tmp_path / "space.safetensors"), "--inside", *inside, "--outside", outside, *options])
    told = capsys.readouterr().out
    rows = rows_of(told)
    assert {"three", "one left out", "two left out", "all"} <= set(rows)
    assert rows["three"][1] == "12" and rows["all"][1] == "24" and "threshold=0.6" in told


def test_a_site_that_a_space_was_trained_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of its volumes are judged, by the published curve."""
    *inside, outside = write_space(tmp_path)
    space = str(tmp_path / "space.safetensors")
    words = [space, "--inside", *inside, "--outside", outside, "--left_out", f"two={space}"]
    quality_estimate.main(words)
    told = capsys.readouterr().out
    rows = rows_of(told)
    assert set(rows) == {"three", "two", "all"} and "fitted" not in told
    assert [rows[name][1] for name in rows] == ["12", "12", "24"]
    for wrong in ("two", f"four={space}"):
        with pytest.raises(SystemExit):
            quality_estimate.main([*words[:-1], wrong])
        assert f"expected SITE=SPACE with a SITE of one, two, got {wrong}" in capsys.readouterr().err


def test_contrast_of_each_volume_by_each_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *inside, outside = write_space(tmp_path)
    space = str(tmp_path / "space.safetensors")
    contrast_check.main([space, "--inside", *inside, "--outside", outside])
    told = capsys.readouterr().out
    rows = [line.split() for line in told[told.index("warned") :].splitlines()[1:]]
    assert [(row[1], row[0]) for row in rows[:-1]] == list(product(("one", "two"), ("one", "two", GLOBAL)))
    assert all(0 < float(row[-4]) <= float(row[-3]) <= float(row[-2]) for row in rows)
    assert rows[-1][:3] == ["matched", "mix", "three"] and rows[-1][3] == "12"
