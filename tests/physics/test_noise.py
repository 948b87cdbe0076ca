# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The noise of k-space is found, and an image that lacks a part of it is made as bright as a full scan."""

import pytest
import torch

from flare_mri.physics.classical import root_sum_of_squares
from flare_mri.physics.fourier import fft2c
from flare_mri.physics.noise import add_noise_floor, noise_variance

SIGMA = (0.5, 1.0, 2.0, 0.0)


def noise(size: tuple[int, ...] = (2, 4, 192, 160)) -> torch.Tensor:
    drawn = torch.randn(*size, 2, generator=torch.Generator().manual_seed(0))
    return torch.view_as_complex(drawn) / 2**0.5 * torch.tensor(SIGMA)[:, None, None]


def smooth_object() -> torch.Tensor:
    """A bump in the middle, [1, 4, 192, 160], whose k-space is narrow."""
    y, x = torch.linspace(-8, 8, 192)[:, None], torch.linspace(-8, 8, 160)
    return 5 * torch.exp(-(y**2) - x**2).expand(1, 4, 192, 160) + 0j


def every_third_line() -> torch.Tensor:
    mask = torch.zeros(2, 1, 192, 160, dtype=torch.bool)
    mask[..., ::3], mask[..., 76:84] = True, True
    return mask


def test_the_variance_of_each_coil_is_found_beside_a_smooth_object() -> None:
    found = noise_variance(fft2c(smooth_object()) + noise(), every_third_line())
    torch.testing.assert_close(found, torch.tensor(SIGMA).square().expand(2, 4), rtol=0.15, atol=1e-9)


@pytest.mark.parametrize("object_there", [True, False])
def test_an_image_without_the_noise_of_missing_samples_gets_as_bright_as_a_full_scan(object_there: bool) -> None:
    mask, clean = every_third_line(), fft2c(smooth_object()) * object_there
    full = clean + noise()
    known = torch.where(mask, full, clean)  # the best that a network can do: the object where nothing was measured
    darker, target = root_sum_of_squares(known), root_sum_of_squares(full)
    made = add_noise_floor(darker, known * mask, mask)
    assert darker.square().mean() < 0.9 * target.square().mean()
    torch.testing.assert_close(made.square().mean(), target.square().mean(), rtol=0.05, atol=0)
    assert (made - target).square().mean() < 0.8 * (darker - target).square().mean()


def test_a_full_scan_and_an_empty_one_stay_as_they_are() -> None:
    full = torch.ones(2, 1, 192, 160)
    image = root_sum_of_squares(noise())
    torch.testing.assert_close(add_noise_floor(image, noise(), full), image)
    empty = torch.zeros_like(noise())
    assert not add_noise_floor(torch.zeros(2, 1, 192, 160), empty, full * 0).any()
    assert not noise_variance(empty, full * 0).any()


def test_gradients_are_finite_where_image_and_noise_are_nothing() -> None:
    image = torch.zeros(2, 1, 192, 160, requires_grad=True)
    add_noise_floor(image, torch.zeros_like(noise()), every_third_line()).sum().backward()
    assert torch.isfinite(image.grad).all()
