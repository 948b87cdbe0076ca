# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of segmentations: the IOP-FL paper's slice Dice, and Dice and HD95 of whole volumes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance

from flare_mri.config.segmentation import ORGAN
from flare_mri.errors import InputError
from flare_mri.metrics.slice_dice import slice_dice

TEST_BATCH, OUTSIDE_BATCH = 64, 8  # slices a batch of the paper's slice Dice, at inside and at outside sites

_EPSILON = 1e-5


def mean_slice_dice(
    predictions: np.ndarray, truths: np.ndarray, batch: int = TEST_BATCH, classes: Sequence[int] = (0, 1)
) -> float:
    r"""The paper's Dice: mean over the classes *with the background*, over the slices of a batch, then over batches.

    $2 |A_c \cap B_c| / (|A_c| + |B_c| + 10^{-5})$ for each slice and class that one of the two marks there. A smaller
    last batch counts as much as a full one.

    Args:
        predictions: classes [N, H, W].
        truths: the same of the truth.
        batch: number of slices in a batch.
        classes: to look at.

    Raises:
        InputError: no slice, or shapes that differ.
    """
    if predictions.shape != truths.shape or truths.ndim != 3 or not len(truths):
        raise InputError(
            f"slice Dice: expected predictions and truths of one shape [N, H, W], got {list(predictions.shape)} and "
            f"{list(truths.shape)}; give every slice once"
        )
    total, count = np.zeros(len(truths)), np.zeros(len(truths))
    for label in classes:
        one, two = predictions == label, truths == label
        both, marked = np.count_nonzero(one & two, axis=(1, 2)), np.count_nonzero(one, axis=(1, 2))
        marked = marked + np.count_nonzero(two, axis=(1, 2))
        total += 2 * both / (marked + _EPSILON)
        count += marked > 0
    of_slices = total / np.maximum(count, 1)
    return float(np.mean([of_slices[start : start + batch].mean() for start in range(0, len(truths), batch)]))


def volume_scores(
    prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0)
) -> tuple[float, float]:
    """Dice and 95 % Hausdorff distance of the organ in one volume.

    Never NaN or infinite: where both are empty Dice is 1 and HD95 0 mm; where one is empty Dice is 0 and HD95 the
    diagonal of the volume, the largest distance that there can be.

    Args:
        prediction: 0 and 1, [S, H, W].
        truth: the same of the truth.
        spacing: mm between voxels along these axes.

    Returns:
        Dice in [0, 1], HD95 in mm. In a volume of one slice, distances are those of outlines in that slice.
    """
    if not prediction.any() or not truth.any():
        same = not prediction.any() and not truth.any()
        return float(same), 0.0 if same else float(np.linalg.norm(np.multiply(truth.shape, spacing)))
    one, two = (torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None, None] for mask in (prediction, truth))
    dice = compute_dice(one, two, include_background=True, ignore_empty=False)
    distances = list(spacing)
    if truth.shape[0] == 1:  # every voxel of a single slice would be surface
        one, two, distances = one[:, :, 0], two[:, :, 0], distances[1:]
    hd95 = compute_hausdorff_distance(one, two, include_background=True, percentile=95, spacing=distances)
    return float(dice), float(hd95)


@dataclass
class _Volume:
    spacing: Sequence[float]
    slices: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


class SegmentationMetrics:
    """Gathers slices; scores them as the paper does, and by whole volumes with the mean over volumes and organs.

    A volume is what was added of it, from the first slice to the last, each at its own place. The slice Dice is that of
    the slices that hold an organ in the truth, as in the paper; what is marked beyond them counts in the volumes'
    scores and in the share of false slices.

    Args:
        batch: slices in a batch of the slice Dice, in the order in which they are added.
        organs: classes to score by name; other classes count as background.

    Example:
        >>> metrics = SegmentationMetrics()
        >>> truth = np.eye(8, dtype=np.uint8)
        >>> metrics.add("volume", 0, truth, truth)
        >>> metrics.aggregate()["dice"]
        1.0
    """

    def __init__(self, batch: int = TEST_BATCH, organs: Mapping[str, int] | None = None):
        self.batch = batch
        self.organs = dict(organs or {ORGAN: 1})
        self._volumes: dict[str | int, _Volume] = {}
        self._order: list[tuple[np.ndarray, np.ndarray]] = []
        self._scored: dict[str | int, dict[str, float]] = {}

    def reset(self) -> None:
        """Forgets all slices."""
        self._volumes.clear()
        self._order.clear()
        self._scored.clear()

    def add(
        self,
        volume: str | int,
        number: int,
        prediction: np.ndarray,
        truth: np.ndarray,
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        """Adds one slice.

        Args:
            volume: which volume it is of.
            number: of the slice in it.
            prediction: classes [H, W].
            truth: the same of the truth.
            spacing: mm between slices, rows and columns of the volume.

        Raises:
            InputError: the shapes differ or are not 2D, or the slice was added before.
        """
        if prediction.shape != truth.shape or truth.ndim != 2:
            raise InputError(
                f"volume {volume!r}: expected prediction and truth of one shape [H, W], got {list(prediction.shape)} "
                f"and {list(truth.shape)}; give one slice at a time"
            )
        known = self._volumes.setdefault(volume, _Volume(tuple(spacing)))
        if number in known.slices:
            raise InputError(f"volume {volume!r}: expected slice {number} once, got it twice; call reset() before")
        organs = list(self.organs.values())
        one, two = (np.where(np.isin(classes, organs), classes, 0).astype(np.uint8) for classes in (prediction, truth))
        pair = (one, two)
        known.slices[number] = pair
        self._order.append(pair)
        self._scored.pop(volume, None)

    def aggregate(self) -> dict[str, float]:
        """Mean scores, all finite.

        Returns:
            `slice_dice` and `dice` (1 is best), `hd95` in mm (0 is best); where there are slices without an organ
            `false_slices`, the share of them that are marked (0 is best); of several organs `dice.<name>` and
            `hd95.<name>` of each, whose means the first are.

        Raises:
            InputError: nothing was added.
        """
        if not self._order:
            raise InputError("metrics: expected at least one slice, got none; add slices before aggregate()")
        of_volumes = list(self.score_volumes().values())
        predictions, truths = (np.stack(part) for part in zip(*self._order, strict=True))
        held = truths.any((1, 2))
        chosen = held if held.any() else ~held
        classes = [0, *self.organs.values()]
        found = {
            "slice_dice": mean_slice_dice(predictions[chosen], truths[chosen], self.batch, classes),
        }
        means = {name: float(np.mean([scores[name] for scores in of_volumes])) for name in of_volumes[0]}
        found |= {name: means.pop(name) for name in ("dice", "hd95")}
        if not held.all():
            found["false_slices"] = float(predictions[~held].any((1, 2)).mean())
        return found | means

    def score_volumes(self) -> dict[str | int, dict[str, float]]:
        """`dice` and `hd95` of each volume, means over its organs, and of several organs those of each of them."""
        for name, volume in self._volumes.items():
            if name not in self._scored:
                self._scored[name] = self._score(volume)
        return {name: self._scored[name] for name in self._volumes}

    def dice_of_slices(self) -> list[float | None]:
        """Dice of each slice in the order in which they were added, see :func:`slice_dice`."""
        return [slice_dice(*pair) for pair in self._order]

    def _score(self, volume: _Volume) -> dict[str, float]:
        first, last = min(volume.slices), max(volume.slices)
        shape = next(iter(volume.slices.values()))[0].shape
        whole = np.zeros((2, last - first + 1, *shape), np.uint8)
        for number, pair in volume.slices.items():
            whole[:, number - first] = pair
        scores = {
            name: volume_scores(whole[0] == organ, whole[1] == organ, volume.spacing)
            for name, organ in self.organs.items()
        }
        found = dict(zip(("dice", "hd95"), np.mean(list(scores.values()), axis=0).tolist(), strict=True))
        for name, (dice, hd95) in scores.items() if len(scores) > 1 else ():
            found |= {f"dice.{name}": dice, f"hd95.{name}": hd95}
        return found
