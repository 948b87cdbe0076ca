# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Centred orthonormal Fourier transforms between images and k-space, of any matrix size."""

import torch
from torch import Tensor


def fftc(image: Tensor, spatial_dims: int) -> Tensor:
    """Image, real or complex, to centred orthonormal k-space over its last `spatial_dims` axes; complex, same shape."""
    axes = tuple(range(-spatial_dims, 0))
    image = image if image.is_complex() else torch.complex(image, torch.zeros_like(image))
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(image, axes), dim=axes, norm="ortho"), axes)


def ifftc(kspace: Tensor, spatial_dims: int) -> Tensor:
    """Complex centred orthonormal k-space to the image over its last `spatial_dims` axes; complex, same shape."""
    axes = tuple(range(-spatial_dims, 0))
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(kspace, axes), dim=axes, norm="ortho"), axes)


def fft2c(image: Tensor) -> Tensor:
    """Image [..., H, W], real or complex, to centred orthonormal k-space, complex [..., H, W]."""
    return fftc(image, 2)


def ifft2c(kspace: Tensor) -> Tensor:
    """Centred orthonormal k-space, complex [..., H, W], to the image, complex [..., H, W]."""
    return ifftc(kspace, 2)
