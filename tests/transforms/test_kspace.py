# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Fourier transforms, k-space crop and undersampling against NumPy."""

import numpy as np
import pytest
import torch

from flare_mri.transforms.kspace import crop_kspace, fft2c, ifft2c, undersample

SHAPES = [(3, 16, 16), (2, 15, 16), (1, 17, 21)]


def numpy_fft2c(image):
    shifted = np.fft.ifftshift(image, axes=(-2, -1))
    return np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1))


def numpy_ifft2c(kspace):
    shifted = np.fft.ifftshift(kspace, axes=(-2, -1))
    return np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=(-2, -1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_complex", [False, True])
def test_transforms_equal_numpy(shape, is_complex):
    rng = np.random.default_rng(0)
    image = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if is_complex else 0)
    kspace = fft2c(torch.from_numpy(image))
    np.testing.assert_allclose(kspace.numpy(), numpy_fft2c(image), atol=1e-12)
    np.testing.assert_allclose(ifft2c(kspace).numpy(), image, atol=1e-12)
    assert kspace.abs().square().sum() == pytest.approx(np.sum(np.abs(image) ** 2))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spatial_size", [(8, 8), (9, 7), (16, 21), (40, 33), (8, 30)])
def test_crop_and_padding_equal_numpy(shape, spatial_size):
    images = np.random.default_rng(0).random(shape)
    expected = []
    for kspace in numpy_fft2c(images):
        cut = np.zeros(spatial_size, complex)
        for row in range(spatial_size[0]):
            for column in range(spatial_size[1]):  # frequency by frequency: the same distance from the centre
                at = (row - spatial_size[0] // 2 + shape[1] // 2, column - spatial_size[1] // 2 + shape[2] // 2)
                if 0 <= at[0] < shape[1] and 0 <= at[1] < shape[2]:
                    cut[row, column] = kspace[at]
        expected.append(np.abs(numpy_ifft2c(cut)) * np.sqrt(np.prod(spatial_size) / np.prod(shape[1:])))
    result = crop_kspace(images.astype(np.float32), spatial_size)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_crop_keeps_the_scale_and_the_identity():
    image = np.full((1, 32, 32), 7, np.float32)
    np.testing.assert_allclose(crop_kspace(image, (20, 48)), 7, rtol=1e-6)
    images = np.random.default_rng(0).random((2, 32, 32), np.float32)
    np.testing.assert_allclose(crop_kspace(images, (32, 32)), images, atol=1e-6)


def test_undersample():
    rng = np.random.default_rng(0)
    image, mask = rng.random((2, 12, 10), np.float32), rng.random((12, 10)) < 0.5
    zero_filled, kspace = undersample(torch.from_numpy(image), torch.from_numpy(mask))
    np.testing.assert_allclose(kspace.numpy(), numpy_fft2c(image) * mask, atol=1e-5)
    np.testing.assert_allclose(zero_filled.numpy(), np.abs(numpy_ifft2c(numpy_fft2c(image) * mask)), atol=1e-6)
    everything = undersample(torch.from_numpy(image), torch.ones(12, 10))[0]
    np.testing.assert_allclose(everything.numpy(), image, atol=1e-6)
