# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Patches against PyTorch's own convolution."""

import math

import pytest
import torch
import torch.nn.functional as F

from flare_mri.routing.patches import output_size, patches

GEOMETRIES = {
    "3x3": ((3, 3), (1, 1), (1, 1), (1, 1)),
    "no border": ((3, 3), (0, 0), (1, 1), (1, 1)),
    "uneven": ((3, 2), (1, 2), (2, 1), (1, 2)),
    "gaps between patches": ((2, 2), (0, 0), (3, 3), (1, 1)),
    "1x1": ((1, 1), (0, 0), (1, 1), (1, 1)),
    "1x1 with stride": ((1, 1), (0, 0), (2, 2), (1, 1)),
    "3x3x3": ((3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "3D, uneven": ((3, 2, 1), (1, 2, 0), (2, 1, 3), (1, 2, 1)),
    "1x1x1": ((1, 1, 1), (0, 0, 0), (1, 1, 1), (1, 1, 1)),
}
CONVOLUTION = {2: F.conv2d, 3: F.conv3d}


def _image(axes: int, **options) -> torch.Tensor:
    return torch.randn(2, 3, *(9, 8, 7)[:axes], dtype=torch.float64, **options)


def _unfold(x: torch.Tensor, kernel, padding, stride, dilation) -> torch.Tensor:
    """Patches with channels last by a convolution whose kernels each pick one number of the patch."""
    taps, channels = math.prod(kernel), x.shape[1]
    picks = torch.eye(taps * channels, dtype=x.dtype).view(taps * channels, taps, channels)
    picks = picks.transpose(1, 2).reshape(-1, channels, *kernel)
    return CONVOLUTION[len(kernel)](x, picks, None, stride, padding, dilation).flatten(2).transpose(1, 2)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_patches_and_their_gradient_are_what_a_convolution_sees_with_channels_last(geometry):
    x = _image(len(geometry[0]), requires_grad=True)
    columns, expected = patches(x, *geometry), _unfold(x, *geometry)
    assert torch.equal(columns, expected)
    weight = torch.randn_like(expected)
    gradients = [torch.autograd.grad((way * weight).sum(), x)[0] for way in (columns, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_patches_times_kernel_is_the_convolution(geometry):
    kernel, padding, stride, dilation = geometry
    x, weight = _image(len(kernel)), torch.randn(4, 3, *kernel, dtype=torch.float64)
    expected = CONVOLUTION[len(kernel)](x, weight, None, stride, padding, dilation)
    assert output_size(x.shape, *geometry) == expected.shape[2:]
    product = weight.movedim(1, -1).flatten(1) @ patches(x, *geometry).transpose(1, 2)
    torch.testing.assert_close(product.view_as(expected), expected)
