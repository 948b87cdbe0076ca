# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the predicted Dice makes its whole table from a tiny routing space and phantoms."""

from pathlib import Path

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


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["one", "two", "three"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "site.yaml").write_text(SITE)
    experts = {name: build_network(SPEC, seed).state_dict() for seed, name in enumerate((*names[:2], GLOBAL))}
    for state in experts.values():  # half of the pixels are marked
        state["decoder.output.bias"].zero_()
    save_routing_space(tmp_path / "space.safetensors", RoutingSpace(SPEC, experts))
    inside, outside = [str(tmp_path / name) for name in names[:2]], str(tmp_path / names[2])
    options = ["--threshold", "0.6"]
    quality_estimate.main([str(tmp_path / "space.safetensors"), "--inside", *inside, "--outside", outside, *options])
    told = capsys.readouterr().out
    rows = {line.split("  ")[0]: line.split() for line in told[told.index("true Dice") :].splitlines()[1:]}
    assert {"three", "one left out", "two left out", "all"} <= set(rows)
    assert rows["three"][1] == "12" and rows["all"][1] == "24" and "threshold=0.6" in told
