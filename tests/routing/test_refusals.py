# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Experts, networks and samples that cannot be routed are told before any is mixed."""

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import nn

from flare_mri.errors import InputError
from flare_mri.networks.unet import UNet
from flare_mri.routing import (
    build_routed_network,
    check_axes,
)


def _unet() -> nn.Module:
    return UNet(in_channels=3, out_channels=2, channels=4, num_pools=2, norm="batch", negative_slope=0.0)


def _break(expert: dict[str, torch.Tensor], how: str) -> None:
    if how == "missing":
        del expert["decoder.output.bias"]
    elif how == "extra":
        expert["decoder.more.weight"] = torch.zeros(1)
    elif how == "shape":
        expert["decoder.output.bias"] = torch.zeros(3)
    else:
        expert["decoder.output.bias"] = torch.tensor([0.0, float("nan")])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"decoder\.output\.bias: is missing, expected shape \(2,\)"),
        ("extra", r"decoder\.more\.weight: is not expected"),
        ("shape", r"decoder\.output\.bias: expected shape \(2,\), got \(3,\)"),
        ("nan", r"decoder\.output\.bias: expected finite numbers, got 1 of 2"),
    ],
)
def test_a_bad_expert_is_named(how, message):
    experts = [_unet().state_dict() for _ in range(3)]
    _break(experts[1], how)
    with pytest.raises(InputError, match=f"site-2.*{message}") as error:
        build_routed_network(_unet(), experts, names=["site-1", "site-2", "global"])
    assert "\n" not in str(error.value)


def test_an_empty_routing_space_is_an_error():
    with pytest.raises(InputError, match="at least one expert"):
        build_routed_network(_unet(), [])


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Sequential(nn.Conv3d(1, 1, 3), nn.Conv1d(1, 1, 3)), "layer '1'.*ConvTranspose3d or Linear, got Conv1d"),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 1, 3))), "layer '0'.*parametrization"),
        (nn.Sequential(nn.MultiheadAttention(4, 2)), "MultiheadAttention"),
        (nn.Sequential(nn.BatchNorm2d(3)), "expected a network with Conv2d"),
    ],
)
def test_a_network_that_cannot_be_routed_is_an_error(network, message):
    with pytest.raises(InputError, match=message):
        build_routed_network(network, [network.state_dict()])


def test_samples_must_have_the_axes_of_the_network():
    volumes = BasicUNet(3, in_channels=3, out_channels=2, features=(4, 4, 4, 4, 4, 4), norm="batch")
    check_axes(_unet(), torch.zeros(3, 8, 8))
    check_axes(volumes, torch.zeros(3, 8, 8, 8))
    check_axes(nn.Linear(3, 2), torch.zeros(5, 3))
    with pytest.raises(InputError, match=r"expected samples with 3 spatial axes .* got one of shape \(3, 8, 8\)"):
        check_axes(volumes, torch.zeros(3, 8, 8))
