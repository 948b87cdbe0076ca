# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from monai.data.fft_utils import fftn_centered, ifftn_centered

from flare_mri.physics import fft2c, fftc, ifft2c, ifftc

SIZES = [(8, 8), (7, 8), (8, 5), (7, 9), (1, 6)]


@pytest.mark.parametrize("size", SIZES)
def test_it_is_numpys_centred_and_orthonormal(size: tuple[int, int]) -> None:
    image = torch.randn(2, 3, *size, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    shifted = np.fft.ifftshift(image.numpy(), axes=(-2, -1))
    expected = np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1))
    np.testing.assert_allclose(fft2c(image).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_it_is_unitary(size: tuple[int, int]) -> None:
    image, kspace = torch.randn(2, 4, *size, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ifft2c(fft2c(image)), image) and torch.allclose(fft2c(ifft2c(kspace)), kspace)
    assert torch.allclose(torch.linalg.vector_norm(fft2c(image)), torch.linalg.vector_norm(image))
    assert torch.allclose((fft2c(image).conj() * kspace).sum(), (image.conj() * ifft2c(kspace)).sum())


@pytest.mark.parametrize("size", SIZES)
def test_it_is_monais(size: tuple[int, int]) -> None:
    image = torch.randn(3, *size, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    pairs = torch.view_as_real(image)
    assert torch.equal(torch.view_as_real(fft2c(image)), fftn_centered(pairs, spatial_dims=2))
    assert torch.equal(torch.view_as_real(ifft2c(image)), ifftn_centered(pairs, spatial_dims=2))


def test_a_flat_image_is_zero_frequency_alone() -> None:
    for size in SIZES:
        kspace = fft2c(torch.ones(size))
        assert kspace[size[0] // 2, size[1] // 2].abs() == pytest.approx(np.sqrt(size[0] * size[1]))
        assert (kspace.abs() > 1e-5).sum() == 1


def test_volumes_too() -> None:
    volume = torch.randn(2, 4, 5, 6, dtype=torch.complex128)
    assert torch.allclose(ifftc(fftc(volume, 3), 3), volume) and not torch.allclose(fftc(volume, 3), fft2c(volume))
