# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Views in one pass against one pass for each."""

import pytest
import torch
from torch import nn

from flare_mri.errors import InputError
from flare_mri.networks.unet import UNet
from flare_mri.routing import build_routed_network
from flare_mri.routing.norm import BatchStatisticsNorm, forward_views, use_batch_statistics


def _views(size: tuple[int, ...] = (16, 16)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [scale * torch.randn(4, 3, *size, generator=generator) + scale for scale in (1.0, 3.0)]


@pytest.fixture
def views() -> list[torch.Tensor]:
    return _views()


def _routed(spatial_dims: int = 2) -> nn.Module:
    torch.manual_seed(0)
    network = UNet(3, 2, channels=8, num_pools=2, norm="batch", negative_slope=0.0, spatial_dims=spatial_dims)
    return build_routed_network(network, [network.state_dict()] * 3, dropout=0.0).train()


@pytest.mark.parametrize("size", [(16, 16), (4, 8, 8)])
def test_each_view_is_normalised_as_if_alone(size):
    routed, views = _routed(len(size)), _views(size)
    together = forward_views(routed, *views)
    for view, logits in zip(views, together, strict=True):
        torch.testing.assert_close(logits, routed(view), rtol=1e-4, atol=1e-5)
    mixed = routed(torch.stack(views, 1).flatten(0, 1)).unflatten(0, (-1, 2))[:, 0]
    assert not torch.allclose(mixed, together[0], rtol=1e-2, atol=1e-2)


def test_gradients_of_the_views_add_up(views):
    routed = _routed()
    parameters = [parameter for parameter in routed.parameters() if parameter.requires_grad]
    together = torch.autograd.grad(sum((logits**2).mean() for logits in forward_views(routed, *views)), parameters)
    apart = torch.autograd.grad(sum((routed(view) ** 2).mean() for view in views), parameters)
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("norm", "shape"),
    [(nn.BatchNorm3d(3), (4, 3, 2, 3, 4)), (nn.BatchNorm2d(3), (4, 3, 5, 5)), (nn.BatchNorm1d(3), (4, 3))],
)
def test_one_view_is_batch_norm_in_training_mode(norm, shape):
    torch.nn.init.uniform_(norm.weight)
    x = torch.randn(shape)
    expected = norm.train()(x)
    ours = use_batch_statistics(norm)
    assert isinstance(ours, BatchStatisticsNorm)
    assert ours.weight is norm.weight
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x), expected)


def test_without_affine_parameters(views):
    norm = use_batch_statistics(nn.BatchNorm2d(3, affine=False))
    torch.testing.assert_close(forward_views(norm, *views)[1], norm(views[1]), rtol=1e-4, atol=1e-5)


class _Windows(nn.Module):
    """Folds the halves of an image into the batch before it normalises."""

    def __init__(self):
        super().__init__()
        self.norm = self.again = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(torch.cat(x.split(8, dim=2)))


def test_a_network_that_folds_pixels_into_the_batch_is_refused(views):
    network = use_batch_statistics(_Windows())
    assert isinstance(network.norm, BatchStatisticsNorm) and network.again is network.norm
    network(views[0])
    with pytest.raises(InputError, match="2 views in one pass: expected 8 samples at a BatchNorm layer, got 16"):
        forward_views(network, *views)


def test_plain_batch_norm_is_refused_and_a_failed_pass_leaves_single_views(views):
    with pytest.raises(InputError, match="expected a network with BatchStatisticsNorm, got BatchNorm2d"):
        forward_views(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), *views)
    norm = use_batch_statistics(nn.BatchNorm2d(3))
    with pytest.raises(RuntimeError):
        forward_views(nn.Sequential(norm, nn.Conv2d(5, 3, 1)), *views)
    assert norm.views == 1
