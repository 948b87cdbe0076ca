# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from flare_mri.errors import InputError
from flare_mri.networks import SharedPart, build_network, check_fits, shared_keys

SPEC = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 2, "num_pools": 2}, "config_type": "dict"}
BATCH = {"path": "flare_mri.networks.UNet", "args": {"channels": 2, "num_pools": 2, "norm": "batch"}}
MONAI = {"path": "monai.networks.nets.BasicUNet", "args": {"spatial_dims": 2, "features": [2] * 6}}
DYN = {
    "path": "monai.networks.nets.dynunet.DynUNet",
    "args": {
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 1,
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [2, 2, 2],
    },
}


def _same(a: dict, b: dict) -> bool:
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("spec", [SPEC, MONAI])
def test_same_seed_same_weights_and_the_callers_generator_is_untouched(spec):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = build_network(spec, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert _same(first, build_network(spec, seed=3).state_dict())
    assert not _same(first, build_network(spec, seed=4).state_dict())


def test_args_reach_the_network_and_may_be_left_out():
    for spec, channels in ((SPEC, 2), ({"path": "flare_mri.networks.UNet"}, 32)):
        assert build_network(spec, 0).state_dict()["decoder.output.weight"].shape == (1, channels, 1, 1)


@pytest.mark.parametrize(
    "spec,message",
    [
        ({"path": "os.system", "args": {"command": "true"}}, "expected a class under flare_mri.networks. or monai"),
        ({"path": "flare_mri.networks_evil.UNet"}, "expected a class under"),
        ({"path": "flare_mri.networks.unett.UNet"}, "'flare_mri.networks.unett.UNet' does not exist"),
        ({"path": "flare_mri.networks.unet.UNett"}, "'flare_mri.networks.unet.UNett' does not exist"),
        ({"path": "flare_mri.networks.shared_layers.shared_keys"}, "expected a torch.nn.Module class"),
        ({"path": SPEC["path"], "args": {"chanels": 2}}, "chanels.*it takes in_channels"),
        ({"path": SPEC["path"], "args": {"norm": "layer"}}, "norm: expected one of"),
        ({"path": SPEC["path"], "args": [2]}, "network: args: expected a mapping"),
        ({"path": SPEC["path"], "channels": 2}, "channels: expected one of the keys args, config_type, path"),
        ({"path": MONAI["path"], "args": {"spatial_dims": 7}}, "cannot be built with args {'spatial_dims': 7}"),
        ({"name": "UNet"}, "network: (name|path): expected"),
        ("UNet", "network: expected {'path'.*, got 'UNet'; correct the job"),
    ],
)
def test_a_wrong_spec_is_one_clear_line(spec, message):
    with pytest.raises(InputError, match=message) as error:
        build_network(spec, 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "spec,shared_layers",
    [
        (SPEC, "encoder"),
        (SPEC, "none"),
        (BATCH, "all"),
        (BATCH, "all_but_norm"),
        (BATCH, "all_but_last"),
        (MONAI, ["conv_0", "down_1"]),
        (DYN, "all"),
    ],
)
def test_shared_part_is_exactly_the_shared_state(spec, shared_layers):
    whole, part = build_network(spec, 5), SharedPart(spec, shared_layers, seed=5)
    state = whole.state_dict()
    assert _same(part.state_dict(), {key: state[key] for key in shared_keys(whole, shared_layers)})
    names = {name for name, _ in whole.named_parameters(remove_duplicate=False)}
    assert {n for n, _ in part.named_parameters(remove_duplicate=False)} == names & set(part.state_dict())
    assert part.load_state_dict(part.state_dict()) is not None


def test_a_state_of_another_network_is_told_before_memory_is_taken():
    state = build_network({"path": SPEC["path"], "args": {"channels": 4, "num_pools": 2}}, seed=0).state_dict()
    check_fits({"path": SPEC["path"], "args": {"channels": 4, "num_pools": 2}}, state)
    with pytest.raises(InputError, match=r"expected shape \(.*\), got \(8, 16, 3, 3\); the model is another"):
        check_fits({"path": SPEC["path"], "args": {"channels": 2**20, "num_pools": 2}}, state)  # would be 100 TB
    with pytest.raises(InputError, match="is missing"):
        check_fits({"path": SPEC["path"], "args": {"channels": 4, "num_pools": 2}}, {})
