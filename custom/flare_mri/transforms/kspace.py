# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Images and k-space: centred orthonormal Fourier transforms, crop and undersampling.

Zero frequency of a centred k-space [..., H, W] is at [H // 2, W // 2].
"""

import numpy as np
import torch
from monai.data.fft_utils import fftn_centered, ifftn_centered
from torch import Tensor


def fft2c(image: Tensor) -> Tensor:
    """Image [..., H, W], real or complex, to centred orthonormal k-space, complex [..., H, W]."""
    pairs = torch.view_as_real(torch.complex(image, torch.zeros_like(image)) if not image.is_complex() else image)
    return torch.view_as_complex(torch.as_tensor(fftn_centered(pairs, spatial_dims=2)))


def ifft2c(kspace: Tensor) -> Tensor:
    """Centred orthonormal k-space, complex [..., H, W], to the image, complex [..., H, W]."""
    return torch.view_as_complex(torch.as_tensor(ifftn_centered(torch.view_as_real(kspace), spatial_dims=2)))


def crop_kspace(images: np.ndarray, matrix: tuple[int, int]) -> np.ndarray:
    """Changes the resolution of magnitude images as a scanner would: by a smaller or larger k-space matrix.

    k-space is cut about zero frequency where `matrix` is smaller, zero-padded where it is larger; intensities keep
    their scale.

    Args:
        images: float [S, H, W], magnitudes.
        matrix: (h, w) wanted.

    Returns:
        float32 [S, h, w], magnitudes.
    """
    height, width = images.shape[1:]
    result = np.empty((len(images), *matrix), np.float32)
    taken, placed = zip(*(_overlap(*sizes) for sizes in zip((height, width), matrix, strict=True)), strict=True)
    scale = float(np.sqrt(matrix[0] * matrix[1] / (height * width)))
    for index, image in enumerate(images):
        kspace = torch.zeros(matrix, dtype=torch.complex64)
        kspace[placed] = fft2c(torch.as_tensor(image, dtype=torch.float32))[taken]
        result[index] = scale * ifft2c(kspace).abs().numpy()
    return result


def _overlap(old: int, new: int) -> tuple[slice, slice]:
    """Where two centred axes of lengths `old` and `new` cover the same frequencies: slices into each."""
    before = min(old // 2, new // 2)
    after = min(old - old // 2, new - new // 2)
    return slice(old // 2 - before, old // 2 + after), slice(new // 2 - before, new // 2 + after)


def undersample(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Simulates an undersampled scan.

    Args:
        image: [..., H, W], magnitude.
        mask: bool or 0/1 [H, W], centred.

    Returns:
        The zero-filled magnitude |F^-1(M F x)|, float [..., H, W], and the sampled k-space M F x, complex [..., H, W].
    """
    kspace = fft2c(image) * mask
    return ifft2c(kspace).abs(), kspace
