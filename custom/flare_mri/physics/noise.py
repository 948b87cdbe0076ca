# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The noise of measured k-space, and what of it an image lacks whose k-space was not measured as a whole."""

import math

import torch
from torch import Tensor

_OUTER = 0.8  # of the measured samples' largest distance from zero frequency: beyond it there is mostly noise
MEDIAN = math.log(2)
"""Of :math:`|n|^2` for complex Gaussian noise :math:`n` of variance 1."""


def noise_variance(kspace: Tensor, mask: Tensor) -> Tensor:
    r"""Variance of the noise of a sample of k-space, real and imaginary part together, by coil.

    The median of :math:`|y|^2` over the measured samples farthest from zero frequency, over :math:`\ln 2`: an upper
    bound where the object has edges that are finer than the noise is strong.

    Args:
        kspace: complex [B, C, H, W], centred.
        mask: bool or 0/1 [B, 1, H, W], true where k-space was measured.

    Returns:
        [B, C], in the square of k-space's unit; 0 where nothing was measured.
    """
    axes = [(torch.arange(size, device=kspace.device) - size // 2) / size for size in kspace.shape[-2:]]
    distance = torch.hypot(axes[0][:, None], axes[1])
    measured = mask > 0
    farthest = torch.where(measured, distance, 0).amax((-2, -1), keepdim=True)
    outer = measured & (distance >= _OUTER * farthest)
    energy = torch.where(outer, kspace.detach().abs().square(), torch.nan)
    return energy.flatten(2).nanmedian(2).values.nan_to_num(0) / MEDIAN


def add_noise_floor(magnitude: Tensor, kspace: Tensor, mask: Tensor) -> Tensor:
    r"""A root sum of squares over coils, as it would be with the noise of the samples that were not measured.

    A fully sampled scan's root sum of squares holds the noise of all samples of all coils, which adds to its square
    :math:`\sum_c \sigma_c^2` on the mean. An image whose missing samples were reconstructed without noise has but the
    measured part of that, and is darker wherever the object is not much brighter than the noise. With the missing part,

    .. math::
        \sqrt{m^2 + (1 - |M| / N) \textstyle\sum_c \sigma_c^2}

    it is as bright as a full scan is on the mean (of such magnitudes: Constantinides et al., MRM 1997).

    Args:
        magnitude: :math:`m`, [B, 1, H, W].
        kspace: measured, complex [B, C, H, W], centred, in the magnitude's unit.
        mask: :math:`M`, bool or 0/1 [B, 1, H, W].
    """
    missing = 1 - (mask > 0).to(magnitude.dtype).mean((-2, -1), keepdim=True)
    power = noise_variance(kspace, mask).sum(1)[:, None, None, None]
    floor = (missing * power).sqrt().expand_as(magnitude)
    return torch.linalg.vector_norm(torch.stack([magnitude, floor]), dim=0)  # finite gradient at 0, unlike a root
