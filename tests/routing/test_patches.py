# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Patches against PyTorch's own unfold and convolution."""

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
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_patches_and_their_gradient_are_those_of_unfold_with_channels_last(geometry):
    kernel, padding, stride, dilation = geometry
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    unfolded = F.unfold(x, kernel, dilation, padding, stride)
    expected = unfolded.unflatten(1, (3, -1)).permute(0, 3, 2, 1).flatten(2)
    columns = patches(x, *geometry)
    assert torch.equal(columns, expected)
    weight = torch.randn_like(expected)
    gradients = [torch.autograd.grad((way * weight).sum(), x)[0] for way in (columns, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_patches_times_kernel_is_the_convolution(geometry):
    kernel, padding, stride, dilation = geometry
    x, weight = torch.randn(2, 3, 9, 8), torch.randn(4, 3, *kernel)
    expected = F.conv2d(x, weight, padding=padding, stride=stride, dilation=dilation)
    assert output_size(x.shape, *geometry) == expected.shape[2:]
    product = weight.permute(0, 2, 3, 1).flatten(1) @ patches(x, *geometry).transpose(1, 2)
    torch.testing.assert_close(product.view_as(expected), expected, rtol=1e-4, atol=1e-5)
