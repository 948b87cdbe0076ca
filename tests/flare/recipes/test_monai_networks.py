# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Each of MONAI's networks whose encoder is known: trained by both systems, routed, applied to scans."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from federation import Federation, weights_in
from flare_mri.config.site import load_site_config
from flare_mri.errors import InputError
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLOutsideRecipe, IOPFLRecipe
from flare_mri.flare.recipes.job import network_config
from flare_mri.inference.personal_model import load_personal_model
from flare_mri.inference.reconstruction import Reconstructor
from flare_mri.inference.segmentation import Segmenter
from flare_mri.networks import build_network, shared_keys
from flare_mri.routing import build_routed_network
from flare_mri.routing.space import GLOBAL, RoutingSpace, load_routing_space, save_routing_space
from monai_networks import ARGUMENTS, spec

SITE_YAML = """
data: {{format: phantom, subjects: 3, spatial_size: [32, 32], slices: {{step: {step}}}}}
split: {{train: 0.34, validation: 0.33, test: 0.33, by: volume}}
cache: {{folder: {cache}}}
batch_size: 4
"""
PLANE = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1}


def settle(folder: Path, cache: Path, step: int) -> Path:
    (folder / "local").mkdir(parents=True)
    path = folder / "local" / "site.yaml"
    path.write_text(SITE_YAML.format(cache=cache, step=step))
    return path


VARIATIONAL = {
    "path": "flare_mri.networks.variational.VariationalNetwork",
    "args": {"num_cascades": 2, "features": [4] * 6, "sensitivity_features": [2] * 6},
}


UNROLLED = {
    "path": "flare_mri.networks.unrolled.UnrolledNetwork",
    "args": {"num_cascades": 2, "regulariser_args": {"channels": 4, "num_pools": 2}},
}
SPECS = {**{name: spec(name) for name in ARGUMENTS}, "VariationalNetwork": VARIATIONAL, "UnrolledNetwork": UNROLLED}


@pytest.mark.parametrize("network_spec", SPECS.values(), ids=SPECS)
def test_fedmri_shares_its_encoder_alone_and_the_personal_model_is_applied(
    tmp_path: Path, cache: Path, network_spec: dict[str, Any]
) -> None:
    config = load_site_config(settle(tmp_path / "site-1", cache, 4), "site-1")
    recipe = FedMRIRecipe(min_clients=1, num_rounds=1, network=network_spec, include_code=False)
    federation = Federation(recipe, ["site-1"], tmp_path)
    results = federation.run()
    assert not federation.panics, (tmp_path / "site-1" / "flare_mri.log").read_text()
    network = build_network(network_config(network_spec, "reconstruction"), seed=0)
    sent = [weights_in(message) for _, task, message in federation.sent if task == "train"]
    assert list(sent[0]) == shared_keys(network, "encoder") and len(sent[0]) < len(network.state_dict())
    model = load_personal_model(tmp_path / "site-1" / "site_store" / "fedmri" / "site-1" / "personal.safetensors")
    if network_spec["path"].startswith("monai."):
        assert model.network["args"].items() >= PLANE.items(), "the task's own, which the job did not name"
    for key, value in federation.saved[-1]["params"].items():
        assert torch.equal(model.state[key], value)
    result = Reconstructor(model, config).apply(0)
    assert result.scores["psnr"] > 0 and results["methods"]["FedMRI"]["sites"]["site-1"]["test"]["psnr"] > 0
    with np.load(tmp_path / "site-1" / "site_store" / "fedmri" / "site-1" / "examples.npz") as examples:
        assert examples["features"].ndim == 2, "of the bottleneck, for the report"


@pytest.mark.parametrize("name", ARGUMENTS)
def test_iop_fl_trains_it_and_an_outside_site_gets_a_routed_one(tmp_path: Path, cache: Path, name: str) -> None:
    config = load_site_config(settle(tmp_path / "site-1", cache, 2), "site-1")
    settle(tmp_path / "outside-1", cache, 2)
    recipe = IOPFLRecipe(min_clients=1, num_rounds=1, network=spec(name), include_code=False)
    inside = Federation(recipe, ["site-1"], tmp_path)
    inside.run()
    assert not inside.panics, (tmp_path / "site-1" / "flare_mri.log").read_text()
    space = tmp_path / "server" / "routing_space.safetensors"
    assert load_routing_space(space).network["args"].items() >= {**PLANE, "in_channels": 3, "out_channels": 2}.items()
    recipe_outside = IOPFLOutsideRecipe(routing_space=str(space), strategy="published", epochs=1, include_code=False)
    outside = Federation(recipe_outside, ["outside-1"], tmp_path)
    results = outside.run()
    assert not outside.panics, (tmp_path / "outside-1" / "flare_mri.log").read_text()
    assert results["methods"]["IOP-FL routing"]["sites"]["outside-1"]["test"]["dice"] >= 0
    stores = [tmp_path / site / "site_store" for site in ("site-1", "outside-1")]
    for folder in (stores[0] / "iopfl" / "site-1", stores[1] / "iopfl_outside" / "outside-1"):
        result = Segmenter(load_personal_model(folder / "personal.safetensors"), config).apply(0)
        assert result.content and ", organ on " in result.text


@pytest.mark.parametrize("name", ARGUMENTS)
def test_routed_with_equal_experts_it_is_the_network_itself(name: str) -> None:
    """All weights one half of two equal models: the mixture is that model, and all its layers are mixed."""
    torch.manual_seed(0)
    network = build_network(network_config(spec(name), "segmentation"), seed=0)
    routed = build_routed_network(network, [network.state_dict()] * 2).eval()
    for module in routed.modules():
        if hasattr(module, "fixed"):
            module.fixed = torch.full((2,), 0.5)
    expected = network.eval()
    for module in expected.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(routed(x), expected(x), rtol=1e-3, atol=1e-4)


NETS = "monai.networks.nets"
LISTS = {  # networks that train with deep supervision
    "BasicUNetPlusPlus": {"features": [4] * 6},
    "SegResNetDS": {"init_filters": 4, "blocks_down": [1, 1, 1], "dsdepth": 2},
}


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (spec("DynUNet", deep_supervision=True), "[2, 2, 1, 32, 32]; set in_channels and out_channels to 1, and no"),
        *(
            ({"path": f"{NETS}.{name}", "args": args}, "one tensor, got a list, as deep")
            for name, args in LISTS.items()
        ),
        (spec("SwinUNETR", norm_name="instance"), "Expected more than 1 spatial element when training"),
        (spec("SwinUNETR", patch_size=4), "must be divisible by 4"),
        (spec("UNet", spatial_dims=3), "cannot take this site's images: "),
        (spec("BasicUNet", out_channels=2), "set in_channels and out_channels to 1"),
    ],
)
def test_a_network_that_does_not_fit_is_one_line_before_a_round(
    tmp_path: Path, cache: Path, network: dict[str, Any], told: str
) -> None:
    settle(tmp_path / "site-1", cache, 4)
    recipe = FedMRIRecipe(method="FedAvg", min_clients=1, num_rounds=1, network=network, include_code=False)
    federation = Federation(recipe, ["site-1"], tmp_path)
    federation.run()
    assert federation.panics and {task for _, task, _ in federation.sent} == {"check"}
    line = (tmp_path / "site-1" / "flare_mri.log").read_text().strip()
    assert "site site-1: the job's network cannot take this site's images: " in line and "\n" not in line
    assert told in line, line


def test_a_network_without_a_known_encoder_says_so() -> None:
    args = {"img_size": 32, "feature_size": 4, "hidden_size": 12, "num_heads": 2, "mlp_dim": 8}
    told = "shared_layers 'encoder': UNETR has no submodule 'encoder', and is none of MONAI's networks"
    with pytest.raises(InputError, match=told):
        FedMRIRecipe(network={"path": f"{NETS}.UNETR", "args": args}, include_code=False)


def test_a_network_that_cannot_be_routed_is_refused_at_the_check(tmp_path: Path, cache: Path) -> None:
    """In the simulator before anything starts, elsewhere at the site."""
    settle(tmp_path / "outside-1", cache, 2)
    network = network_config(spec("UNet", spatial_dims=1), "segmentation")
    state = build_network(network, seed=0).state_dict()
    path = tmp_path / "space.safetensors"
    save_routing_space(path, RoutingSpace(network, {"site-1": state, GLOBAL: state}))
    recipe = IOPFLOutsideRecipe(routing_space=str(path), epochs=1, include_code=False)
    told = "ConvTranspose3d or Linear, got Conv1d, which cannot be routed"
    with pytest.raises(InputError, match=told):
        recipe.check_sites(["outside-1"], tmp_path)
    outside = Federation(recipe, ["outside-1"], tmp_path)
    outside.run()
    assert outside.panics and {task for _, task, _ in outside.sent} == {"check"}
    assert told in (tmp_path / "outside-1" / "flare_mri.log").read_text()
