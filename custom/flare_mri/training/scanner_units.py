# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of a batch's images between their normalised form and the scanner's units, and their scores in these."""

from typing import Any

import numpy as np
from torch import Tensor

from flare_mri.metrics.reconstruction import VolumeMetrics


def normalise_magnitude(batch: dict[str, Any], magnitude: Tensor) -> Tensor:
    """Take the mean off magnitudes [B, 1, H, W] of a batch's `kspace`, which comes divided by `scale` alone."""
    return magnitude - (batch["offset"] / batch["scale"]).view(-1, 1, 1, 1)


def restore_units(batch: dict[str, Any], image: Tensor) -> np.ndarray:
    """Undo the input's normalisation: [B, 1, H, W] normalised -> [B, H, W] scanner units."""
    scaled = image * batch["scale"].view(-1, 1, 1, 1) + batch["offset"].view(-1, 1, 1, 1)
    return scaled[:, 0].cpu().numpy()


def add_scores(metrics: VolumeMetrics, batch: dict[str, Any], output: Tensor) -> None:
    """Add normalised images [B, 1, H, W] and their targets to the metrics of their volumes.

    Training samples have no `max`: the data range is then that of the targets that are added.
    """
    prediction, target = restore_units(batch, output), restore_units(batch, batch["target"])
    for i, volume in enumerate(batch["volume"].tolist()):
        metrics.add(volume, prediction[i], target[i], float(batch["max"][i]) if "max" in batch else None)
