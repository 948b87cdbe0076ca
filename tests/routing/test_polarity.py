# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A network with negated input kernels predicts what it predicted of negatives, or it is said that it cannot."""

from collections.abc import Callable

import pytest
import torch
from monai.networks.nets import UNETR, BasicUNet, DynUNet, SegResNet
from torch import Tensor, nn

from flare_mri.networks.unet import UNet
from flare_mri.routing.polarity import find_input_layers, take_negatives

STEPS = {"kernel_size": (3, 3, 3), "strides": (1, 2, 2), "upsample_kernel_size": (2, 2), "filters": (4, 8, 16)}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "UNet": (lambda: UNet(3, 2, 4, 2, norm="batch"), 3, 2),
    "UNet in 3D": (lambda: UNet(1, 2, 4, 2, norm="batch", spatial_dims=3), 1, 3),
    "BasicUNet": (lambda: BasicUNet(2, 3, 2, features=(4, 4, 8, 8, 8, 4), norm="batch"), 3, 2),
    "SegResNet": (lambda: SegResNet(3, 8, 1, 2, norm="batch"), 1, 3),
    "DynUNet": (lambda: DynUNet(3, 1, 2, norm_name="batch", res_block=True, **STEPS), 1, 3),
    "UNETR": (lambda: UNETR(1, 2, (16, 16, 16), 4, 24, 48, 4, norm_name="batch"), 1, 3),
}


class Added(nn.Module):
    """What comes out is the image and something besides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return image + self.conv(image)


@pytest.mark.parametrize("name", NETWORKS)
def test_negated_kernels_are_negated_images(name: str) -> None:
    make, channels, dims = NETWORKS[name]
    torch.manual_seed(0)
    network = make().eval()
    image = torch.randn(2, channels, *[16] * dims)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    layers = find_input_layers(network, image.shape[1:])
    assert layers and all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    with torch.no_grad():
        expected = network(-image)
        network.load_state_dict(take_negatives(before, layers))
        torch.testing.assert_close(network(image), expected, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(network(-image), expected, rtol=0.01)


def test_a_network_that_uses_the_image_elsewhere_has_none() -> None:
    assert find_input_layers(Added(), torch.Size((3, 8, 8))) == ()
    normalised = nn.Sequential(nn.InstanceNorm2d(3), nn.Conv2d(3, 2, 1))
    assert find_input_layers(normalised, torch.Size((3, 8, 8))) == ()


def test_other_tensors_and_the_state_given_stay() -> None:
    state = {"first.weight": torch.ones(2), "first.bias": torch.ones(1), "second.weight": torch.ones(2)}
    changed = take_negatives(state, ["first"])
    assert changed["first.weight"].tolist() == [-1, -1] and state["first.weight"].tolist() == [1, 1]
    assert changed["first.bias"] is state["first.bias"] and changed["second.weight"] is state["second.weight"]
