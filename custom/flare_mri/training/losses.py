# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of reconstructed slices: mean squared and absolute error, and the latter with SSIM."""

from collections.abc import Callable
from typing import Any

from monai.losses import SSIMLoss
from torch import Tensor
from torch.nn import functional as F

_SSIM = SSIMLoss(spatial_dims=2)  # Gaussian window of 11, data range 1


def l1_ssim(output: Tensor, target: Tensor, batch: dict[str, Any]) -> Tensor:
    """Mean absolute error, and 1 - SSIM of magnitudes relative to the target's maximum.

    Args:
        output: normalised magnitude [B, 1, H, W].
        target: the same.
        batch: with `scale` and `offset`, which lead back to the scanner's units.
    """
    mean = (batch["offset"] / batch["scale"]).view(-1, 1, 1, 1)
    highest = (target + mean).amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
    return F.l1_loss(output, target) + _SSIM((output + mean) / highest, (target + mean) / highest)


RECONSTRUCTION_LOSSES: dict[str, Callable[[Tensor, Tensor, dict[str, Any]], Tensor]] = {
    "mse": lambda output, target, batch: F.mse_loss(output, target),
    "l1": lambda output, target, batch: F.l1_loss(output, target),
    "l1_ssim": l1_ssim,
}
"""By the name of :attr:`flare_mri.config.training.TrainingSettings.loss`."""
