# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""How good a segmentation is likely to be, without a label: by whether it stays when the image changes a little.

A network that knows a scan's look marks the same organ under another gamma curve, with sharper edges, a little noise or
a small shift; one that does not marks something else each time. The agreement of an organ is the mean, over the changed
images, of the fuzzy Dice of its probabilities :math:`p` in the image as it came and :math:`q_t` in the changed one,

.. math:: a = \frac1T \sum_t \frac{2 \sum \min(p, q_t)}{\sum p + \sum q_t}

(with the minimum as intersection, as in Crum et al., IEEE TMI 2006, Generalized overlap measures). Changed images are
test-time augmentation (Wang et al., Neurocomputing 2019, arXiv 1807.07356); that samples which agree mean quality is
Roy et al.'s (Bayesian QuickNAT, NeuroImage 2019, arXiv 1811.09800), there of dropout's. A curve that was fitted where
labels exist makes a predicted Dice of it. An error that the network makes whatever the image looks like is not seen.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flare_mri.datasets.pieces import Pieces
from flare_mri.errors import InputError

LEAST_VOLUMES = 8
"""That a calibration may be fitted to."""
GAMMAS = (0.6, 1.6)
SHARPENING = 0.7
NOISE = 0.2  # standard deviations of the volume
SHIFT = 2  # pixels down and to the right
_STEEPEST = 40.0  # of a fit: where no volume lies between good and bad ones, the best fit would be a step
_RANGES = {"top": (1e-3, 1.0), "middle": (0.0, 1.0), "steepness": (1.0, 200.0), "threshold": (0.0, 1.0)}


@dataclass(frozen=True)
class Calibration:
    r"""Predicted Dice of an agreement :math:`a`: a logistic curve, which rises with it.

    .. math:: d = \text{top} \cdot \sigma(\text{steepness} (a - \text{middle})) / \sigma(\text{steepness} (1 -
        \text{middle}))

    Attributes:
        top: what full agreement predicts, in [0.001, 1].
        middle: agreement about which it falls, in [0, 1].
        steepness: how fast, in [1, 200].
        threshold: predicted Dice below which a person is warned, in [0, 1].

    Raises:
        InputError: a number out of its range.
    """

    top: float
    middle: float
    steepness: float
    threshold: float = 0.7

    def __post_init__(self) -> None:
        for key, (low, high) in _RANGES.items():
            value = getattr(self, key)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
                raise InputError(
                    f"calibration: {key}: expected a number from {low:g} to {high:g}, got {value!r:.40}; fit it anew"
                )

    def predict(self, agreement: float) -> float:
        """Dice in [0, top] of an agreement in [0, 1]; 0 where there is none at all."""
        return self.top * float(_curve(agreement, self.middle, self.steepness)) if agreement > 0 else 0.0

    def as_dict(self) -> dict[str, float]:
        """For JSON, such as a model's description; :meth:`read` takes it back."""
        return asdict(self)

    @classmethod
    def read(cls, values: Any) -> "Calibration":
        """From what :meth:`as_dict` gave, of a file that is not trusted.

        Raises:
            InputError: other keys, or a number out of its range.
        """
        keys = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping) or set(values) != set(keys):
            raise InputError(f"calibration: expected {', '.join(keys)}, got others; fit it anew")
        return cls(**values)

    @classmethod
    def fit(cls, agreements: Sequence[float], dices: Sequence[float], threshold: float = 0.7) -> "Calibration":
        """The curve of least squared error of Dice, on a grid of `middle` and `steepness`.

        Args:
            agreements: of volumes, in [0, 1]; of bad segmentations too, or the curve says nothing of them.
            dices: the true ones of the same volumes, in [0, 1].
            threshold: of the warning.

        Raises:
            InputError: fewer than :data:`LEAST_VOLUMES`, another number of Dice, or a value out of its range.
        """
        a, d = np.asarray(agreements, float), np.asarray(dices, float)
        if a.shape != d.shape or a.ndim != 1 or len(a) < LEAST_VOLUMES:
            raise InputError(
                f"calibration: expected agreement and Dice of at least {LEAST_VOLUMES} volumes, got {a.size} and "
                f"{d.size}; score more volumes"
            )
        if not all(((values >= 0) & (values <= 1)).all() for values in (a, d)):
            raise InputError("calibration: expected agreements and Dice in [0, 1], got others; check the scores")
        best = (math.inf, 1.0, 0.5, 1.0)
        for middle in np.linspace(0, 1, 201):
            for steepness in np.geomspace(_RANGES["steepness"][0], _STEEPEST, 50):
                curve = _curve(a, middle, steepness)
                top = float(np.clip(curve @ d / max(curve @ curve, 1e-12), *_RANGES["top"]))
                best = min(best, (float(np.square(top * curve - d).sum()), top, float(middle), float(steepness)))
        return cls(round(best[1], 4), round(best[2], 4), round(best[3], 2), threshold)


def _curve(agreement: Any, middle: float, steepness: float) -> Any:
    """The logistic curve, 1 at full agreement."""
    return (1 + np.exp(-steepness * (1 - middle))) / (1 + np.exp(-steepness * (agreement - middle)))


PUBLISHED = Calibration(top=0.937, middle=0.91, steepness=34.4)
"""Fitted on the hippocampus (docs/explanation/quality.md); another organ or network wants its own."""


@dataclass(frozen=True)
class Quality:
    """What is expected of a segmentation of one volume.

    Attributes:
        dice: predicted, mean over organs, in [0, 1].
        organs: the same of each foreground class.
        agreement: of each foreground class, in [0, 1].
        warning: one line where an organ is below the threshold or not marked at all, else empty.
    """

    dice: float
    organs: tuple[float, ...]
    agreement: tuple[float, ...]
    warning: str = ""


def estimate_quality(
    network: nn.Module,
    pieces: Pieces,
    probabilities: Tensor | None = None,
    batch_size: int = 16,
    calibration: Calibration = PUBLISHED,
) -> Quality:
    """The quality to be expected of a network's prediction for one volume; costs a pass for each of :func:`changes`.

    Args:
        network: of the pieces' plan.
        pieces: of one volume; z-scored, 0 beyond the scan.
        probabilities: what they gave as they came, [N, classes, H, W], where that is known.
        batch_size: pieces in a batch at most, as in the prediction.
        calibration: of the network's task.

    Raises:
        InputError: probabilities of another shape.
    """
    images = torch.from_numpy(np.stack([volume[:][:, :1] for volume in pieces.volumes]))[0]
    came = pieces.probabilities(network, batch_size) if probabilities is None else probabilities
    marked = came.argmax(1)

    def predict(changed: Tensor) -> Tensor:
        return Pieces([changed.numpy()], pieces.plan).probabilities(network, batch_size)

    others = (predict(changed).roll((-rows, -rows), (-2, -1)) for changed, rows in changes(images))
    found = find_agreement(came, others)
    present = [bool((marked == organ).any()) for organ in range(1, came.shape[1])]
    return judge(
        [value if there else 0.0 for value, there in zip(found, present, strict=True)], calibration, pieces.plan.organs
    )


def changes(images: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Changed images, one after the other: two gamma curves, sharper edges, noise, a shift.

    Voxels of exactly 0 are taken for padding: gamma and noise leave them 0.

    Args:
        images: all slices [N, C, H, W], float, z-scored by volume.

    Returns:
        Images of the same shape, and by how many pixels each lies lower and more to the right than before.
    """
    inside = images != 0
    for gamma in GAMMAS:
        yield _with_gamma(images, inside, gamma), 0
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)  # slices may be far apart
    yield images + SHARPENING * (images - blurred), 0
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    yield images + NOISE * noise * inside, 0
    yield images.roll((SHIFT, SHIFT), (-2, -1)), SHIFT


def find_agreement(probabilities: Tensor, others: Iterable[Tensor]) -> list[float]:
    """Mean over others of the fuzzy Dice with them, of each foreground class, in [0, 1].

    Args:
        probabilities: [N, classes, ...], the background first.
        others: of the same shape, such as those of changed images, or of other experts.

    Raises:
        InputError: fewer than two classes, no others, or one of another shape.
    """
    if probabilities.ndim < 3 or probabilities.shape[1] < 2:
        raise InputError(
            f"quality: expected probabilities [N, classes, H, W] of background and organs, got "
            f"{list(probabilities.shape)}; give all classes"
        )
    one, values = probabilities[:, 1:].double(), []
    axes = [axis for axis in range(one.ndim) if axis != 1]
    for other in others:
        if other.shape != probabilities.shape:
            raise InputError(
                f"quality: expected predictions of one shape {list(probabilities.shape)}, got {list(other.shape)}; "
                "give those of the same slices"
            )
        two = other[:, 1:].double()
        values.append(2 * torch.minimum(one, two).sum(axes) / (one.sum(axes) + two.sum(axes)).clamp_min(1e-12))
    if not values:
        raise InputError("quality: expected predictions to compare with, got none; give one at least")
    return [float(value) for value in torch.stack(values).mean(0)]


def judge(
    agreement: Sequence[float], calibration: Calibration = PUBLISHED, names: Sequence[str] | None = None
) -> Quality:
    """Predicted Dice and warning from the agreement of each organ, 0 where it is not marked.

    Args:
        agreement: of each organ, in [0, 1].
        calibration: of the task.
        names: of the organs; by default their numbers.
    """
    names = names or [f"organ {number}" for number in range(1, 1 + len(agreement))]
    organs = tuple(calibration.predict(value) for value in agreement)
    worst = min(range(len(organs)), key=organs.__getitem__)
    warning = ""
    if organs[worst] < calibration.threshold:
        where = f" of {names[worst]}" if len(organs) > 1 else ""
        told = f"predicted Dice{where} {organs[worst]:.2f}, below {calibration.threshold:.2f}"
        warning = f"{told}: do not use this result without looking at every slice"
        if not agreement[worst]:
            warning = f"{names[worst]} is marked nowhere: look at the scan" if where else "nothing is marked"
    return Quality(sum(organs) / len(organs), organs, tuple(agreement), warning)


def _with_gamma(images: Tensor, inside: Tensor, gamma: float) -> Tensor:
    """(x - least) / (most - least) to a power, and back to mean 0 and standard deviation 1; padding stays 0."""
    if not inside.any():
        return images
    values = images[inside]
    least, most = values.min(), values.max()
    values = ((values - least) / (most - least).clamp_min(1e-12)) ** gamma
    changed = images.clone()
    changed[inside] = (values - values.mean()) / values.std(correction=0).clamp_min(1e-12)
    return changed
