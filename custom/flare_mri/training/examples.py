# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The test slices of which a site keeps pictures for its own report: a method's worst, median and best ones, and some
that are the same for every method."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from flare_mri.datasets.pictures import SlicePlace
from flare_mri.metrics.reconstruction import VolumeMetrics
from flare_mri.training.scanner_units import add_scores, restore_units

COMMON = 2
"""Slices, evenly chosen, that are the same for every method."""

Keep = Callable[[str, dict[str, np.ndarray]], None]
"""Takes the name of a file of the site store and its arrays."""


def spread_evenly(total: int, count: int = COMMON) -> list[int]:
    """Places of up to `count` of `total` things, neither first nor last where there are enough."""
    return np.unique(np.linspace(0, total - 1, count + 2, dtype=int)[1:-1]).tolist()


def choose_slices(scores: np.ndarray, count: int = COMMON) -> tuple[list[int], dict[str, np.ndarray]]:
    """The slices to keep: `count` evenly chosen ones, and the worst, the median and the best by their scores.

    Args:
        scores: float [N], higher is better; NaN for a slice that has none.
        count: of those that do not depend on scores.

    Returns:
        Their places, ascending, and arrays of one number for each: `score` float32; `rank`, 1 for the worst and 0 for
        one without a score; `ranked`, how many have a score.
    """
    order = np.argsort(scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    ranks = np.zeros(len(scores), int)
    ranks[order] = np.arange(len(order)) + 1
    marked = [order[place] for place in (0, (len(order) - 1) // 2, len(order) - 1)] if len(order) else []
    places = sorted({*spread_evenly(len(scores), count), *map(int, marked)})
    ranked = np.full(len(places), len(order))
    return places, {"score": scores[places].astype(np.float32), "rank": ranks[places], "ranked": ranked}


class ReconstructionExamples:
    """Gathers the test slices of a reconstruction, in the scanner's units.

    Args:
        places: how the slices of each volume lie, by its number.
    """

    def __init__(self, places: Sequence[SlicePlace]) -> None:
        self._places = places
        self._columns: dict[str, list[np.ndarray]] = {}
        self._metrics = VolumeMetrics()

    def add(self, batch: dict[str, Any], output: Tensor) -> None:
        """Add normalised images [B, 1, H, W] of a batch; without `target` in it they have no score."""
        images = {"input": batch["image"], "output": output, "target": batch.get("target")}
        for key, image in images.items():
            if image is not None:
                self._columns.setdefault(key, []).append(restore_units(batch, image))
        for key in ("volume", "slice"):
            self._columns.setdefault(key, []).append(batch[key].cpu().numpy())
        if "target" in batch:
            add_scores(self._metrics, batch, output)

    def choose(self, count: int = COMMON) -> dict[str, np.ndarray]:
        """Arrays of the slices of :func:`choose_slices` by their PSNR.

        Returns:
            `input`, `output` and, where known, `target`, float32 [N, H, W]; `volume` and `slice` [N]; `score` (PSNR in
            dB), `rank` and `ranked` [N]; `axcodes` and `spacing` as of :func:`tell_places`.
        """
        columns = {key: join_images(parts) for key, parts in self._columns.items()}
        # batches hold slices of one shape: their order is not the same for every method
        order = np.lexsort((columns["slice"], columns["volume"]))
        psnr = {volume: iter(values) for volume, values in self._metrics.psnr_of_slices().items()}
        scores = np.array([next(psnr[volume], np.nan) if volume in psnr else np.nan for volume in columns["volume"]])
        places, ranks = choose_slices(scores[order], count)
        chosen = {key: column[order][places] for key, column in columns.items()}
        return chosen | ranks | tell_places([self._places[volume] for volume in chosen["volume"]])


def tell_places(places: Sequence[SlicePlace]) -> dict[str, np.ndarray]:
    """How slices lie, as arrays, for pictures that show them upright and with square pixels.

    Returns:
        `axcodes` text [N], of rows, columns and slices, empty where not known; `spacing` float32 [N, 2], mm from row to
        row and from column to column.
    """
    return {
        "axcodes": np.array([place.axcodes for place in places], "U3"),
        "spacing": np.array([place.spacing for place in places], np.float32),
    }


def join_examples(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The examples of several sites, one after the other; names, as of organs, are the same of all."""
    named = {key: value for key, value in parts[0].items() if value.dtype.kind == "U" and key != "axcodes"}
    return {key: join_images([part[key] for part in parts]) for key in parts[0] if key not in named} | named


def join_images(parts: Sequence[np.ndarray]) -> np.ndarray:
    """[N, H, W] one after the other, or [N] or [N, 2] of numbers; smaller images with zeros around them."""
    if parts[0].ndim < 3:
        return np.concatenate(parts)
    largest = np.max([part.shape[1:] for part in parts], axis=0)
    around = [[(0, 0), *((gap // 2, gap - gap // 2) for gap in largest - part.shape[1:])] for part in parts]
    return np.concatenate([np.pad(part, width) for part, width in zip(parts, around, strict=True)])
