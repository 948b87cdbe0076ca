# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers by which a physicist checks the reconstruction of a raw scan: what its images leave of the measurement."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flare_mri.physics.operator import SenseOperator


class Residual:
    r"""How far images are from what was measured, :math:`\|A x - y\| / \|y\|`, summed over batches of slices."""

    def __init__(self) -> None:
        self._left = self._measured = 0.0

    def add(self, image: Tensor, sensitivities: Tensor, batch: dict[str, Any]) -> None:
        """Add complex images [B, 1, H, W] of slices with these coil sensitivities [B, C, H, W].

        Args:
            image: in the unit of the batch's `kspace`.
            sensitivities: those the images were made with.
            batch: with `kspace`, `mask` and `scale`.
        """
        scale = batch["scale"].view(-1, 1, 1, 1)
        predicted = SenseOperator(sensitivities, batch["mask"]).forward(image)
        self._left += float(((predicted - batch["kspace"]).abs() * scale).square().sum())
        self._measured += float((batch["kspace"].abs() * scale).square().sum())

    def value(self) -> float:
        """0 where images agree with all that was measured."""
        return math.sqrt(self._left / self._measured) if self._measured else math.nan


def relative_noise(noise: float, kspace: np.ndarray, mask: np.ndarray) -> float:
    r"""The part of the measured energy's root that is noise, :math:`\sigma \sqrt{N} / \|y\|`, to hold a residual to.

    Args:
        noise: standard deviation of a sample.
        kspace: complex [S, C, H, W].
        mask: bool [S, H, W], true for the samples that are used.
    """
    used = (np.abs(values[:, chosen]) for values, chosen in zip(kspace, mask, strict=True))
    energy = sum(float((values**2).sum(dtype=np.float64)) for values in used)
    return noise * math.sqrt(kspace.shape[1] * int(mask.sum()) / energy) if energy else math.nan


def spread_of_cascades(images: list[Tensor]) -> Tensor:
    """Standard deviation over the cascades of the magnitudes [B, 1, H, W] that each gives; 0 of a single one.

    Where the network changes much it guesses much of what was not measured. It is no error bar: it does not know of
    errors that all cascades share, nor of the noise. Its correlation with the error stands in the figures.
    """
    return torch.stack([image.abs() for image in images]).std(0, correction=0)
