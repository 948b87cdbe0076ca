# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of reconstructions without a fully sampled image: prediction of samples that were held out."""

from typing import Any

import torch
from torch import Tensor

from flare_mri.datasets.split import seed_of_sample
from flare_mri.metrics.metric_table import HELD_OUT_SNR
from flare_mri.metrics.reconstruction import PSNR_CAP
from flare_mri.physics.operator import SenseOperator
from flare_mri.training.self_supervision import split_samples


class HeldOutSnr:
    r"""Gathers slices that were measured undersampled, of which a reconstruction sees a part.

    .. math::
        10 \log_{10} \frac{\|y_\Lambda\|^2}{\|y_\Lambda - A_\Lambda x\|^2}, \qquad x = f(y_\Theta)

    in dB, mean over slices: how Yaman et al. validate ("Zero-shot self-supervised learning", ICLR 2022), as a ratio.
    :math:`\Theta` and :math:`\Lambda` divide a slice's samples as in training, the same for every method and time.
    """

    def __init__(self) -> None:
        self._values: dict[int, list[float]] = {}

    def split(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        r""":math:`\Theta` and :math:`\Lambda` of a batch's masks, bool [B, 1, H, W].

        Raises:
            InputError: as :func:`~flare_mri.training.self_supervision.split_samples`.
        """
        parts = []
        places = zip(batch["mask"].cpu().split(1), batch["volume"].tolist(), batch["slice"].tolist(), strict=True)
        for mask, volume, index in places:
            parts.append(split_samples(mask, generator=torch.Generator().manual_seed(seed_of_sample(volume, index))))
        seen, held_out = (torch.cat(part).to(batch["mask"].device) for part in zip(*parts, strict=True))
        return seen, held_out

    def add(self, batch: dict[str, Any], held_out: Tensor, image: Tensor, sensitivities: Tensor) -> None:
        """Add the images of a batch.

        Args:
            batch: with `kspace`, complex [B, C, H, W].
            held_out: of :meth:`split`.
            image: complex [B, 1, H, W], of the samples that were not held out.
            sensitivities: complex [B, C, H, W], that it was made with.
        """
        measured = (batch["kspace"] * held_out).flatten(1)
        error = SenseOperator(sensitivities, held_out).forward(image).flatten(1) - measured
        energy, left = (part.abs().double().square().sum(1) for part in (measured, error))
        values = (10 * torch.log10(energy / left)).clamp(max=PSNR_CAP).tolist()
        for volume, value in zip(batch["volume"].tolist(), values, strict=True):
            self._values.setdefault(volume, []).append(value)

    def aggregate(self) -> dict[str, float]:
        """Mean over the slices, under its name in results.json."""
        values = [value for of_volume in self._values.values() for value in of_volume]
        return {HELD_OUT_SNR: sum(values) / len(values)}

    def score_volumes(self) -> dict[int, dict[str, float]]:
        """Mean over the slices of each volume."""
        return {volume: {HELD_OUT_SNR: sum(values) / len(values)} for volume, values in self._values.items()}
