# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of classical reconstructions at a site, with the weight that is best on some of its training slices."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.datasets.reconstruction_slices import ReconstructionDataset
from flare_mri.metrics.reconstruction import VolumeMetrics
from flare_mri.physics.classical import cg_sense, l1_wavelet
from flare_mri.training.examples import ReconstructionExamples, spread_evenly
from flare_mri.training.held_out import HeldOutSnr
from flare_mri.training.scanner_units import add_scores, normalise_magnitude

SOME = 4
"""Training slices that choose a weight."""


@dataclass(frozen=True)
class Classical:
    """A reconstruction that learns nothing but its weight.

    Attributes:
        title: its name in tables.
        solve: of k-space, mask, sensitivities and `penalty`, see :mod:`flare_mri.physics.classical`.
        weights: that are tried.
    """

    title: str
    solve: Callable[..., Tensor]
    weights: tuple[float, ...]


CLASSICAL = {
    "cg_sense": Classical("CG-SENSE", cg_sense, (0.001, 0.003, 0.01, 0.03, 0.1)),
    "l1_espirit": Classical("l1-ESPIRiT", l1_wavelet, (0.001, 0.003, 0.01, 0.02)),
}
"""By the name that metrics and results.json have."""


def score_classical(
    data: ReconstructionData, name: str, examples: ReconstructionExamples | None = None
) -> tuple[VolumeMetrics | HeldOutSnr, float]:
    """Test scores of a classical reconstruction and the weight it had, on the slices and masks of the networks.

    Args:
        data: of the site.
        name: of :data:`CLASSICAL`.
        examples: gathers the test slices; of scans that were measured undersampled the common ones alone.

    Raises:
        InputError: SigPy is needed and not installed.
    """
    needs = ("kspace", "mask", "sensitivities")
    train, test = data.train.with_keys(needs), data.test.with_keys(needs)
    some = torch.linspace(0, len(train) - 1, min(SOME, len(train))).long().tolist()
    entry = CLASSICAL[name]
    tried = {weight: _score(train, some, entry, weight).aggregate()[data.key_metric] for weight in entry.weights}
    best = max(tried, key=lambda weight: tried[weight])
    return _score(test, range(len(test)), entry, best, examples), best


def _score(
    dataset: ReconstructionDataset,
    places: Iterable[int],
    entry: Classical,
    weight: float,
    examples: ReconstructionExamples | None = None,
) -> VolumeMetrics | HeldOutSnr:
    metrics, held_out, common = VolumeMetrics(), HeldOutSnr(), spread_evenly(len(dataset))
    for place in places:
        batch: dict[str, Any] = default_collate([dataset[place]])
        kspace, mask, sensitivities = (batch[key] for key in dataset.keys)
        if "target" in batch or (examples and place in common):
            magnitude = entry.solve(kspace, mask, sensitivities, penalty=weight).abs()
            output = normalise_magnitude(batch, magnitude)
            if examples:
                examples.add(batch, output)
        if "target" in batch:
            add_scores(metrics, batch, output)
        else:
            seen, rest = held_out.split(batch)
            image = entry.solve(kspace * seen, seen, sensitivities, penalty=weight)
            held_out.add(batch, rest, image, sensitivities)
    return metrics if "target" in batch else held_out
