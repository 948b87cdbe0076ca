# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of what is marked beyond the organ counts every slice of a site's test volumes once."""

from pathlib import Path

import beyond_the_organ
import pytest
import torch

from flare_mri.config.site import load_site_config
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.networks import build_network
from flare_mri.training import SiteStore

SPEC = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {"in_channels": 3, "out_channels": 2, "norm": "batch", "channels": 2, "num_pools": 2},
}
SITE = """
data: {format: phantom, subjects: 3, spatial_size: [32, 32]}
split: {train: 0.34, validation: 0.33, test: 0.33, by: volume}
cache: {folder: cache}
"""


@pytest.mark.parametrize(("bias", "marks"), [(50.0, True), (-50.0, False)])
def test_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str], bias: float, marks: bool) -> None:
    state = build_network(SPEC, 0).state_dict()
    state["decoder.output.bias"] = torch.tensor([0.0, bias])
    for site in ("one", "two"):
        (tmp_path / "sites" / site).mkdir(parents=True)
        (tmp_path / "sites" / site / "site.yaml").write_text(SITE)
        known = PersonalModel("iopfl", site, "segmentation", SPEC, state, (32, 32))
        store = SiteStore(tmp_path / "stores" / site, "iopfl", site)
        store.save_model(PERSONAL_FILE, known.state, known.description())
    beyond_the_organ.main([str(tmp_path / "stores"), "--sites", str(tmp_path / "sites")])
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[1:]}
    data = SegmentationData(load_site_config(tmp_path / "sites" / "one" / "site.yaml", "one"), 0)
    count = sum(not bool(item["label"].any()) for item in data.test)
    assert list(rows) == ["one", "two", "all"] and count > 0
    assert rows["one"][-3:] == [str(count * marks), "of", str(count)]
    whole, within = (float(rows["one"][at]) for at in (0, 1))
    assert (0 < whole < within) if marks else (whole == within == 0)
    with pytest.raises(SystemExit, match="expected personal.safetensors"):
        beyond_the_organ.main([str(tmp_path / "sites")])
