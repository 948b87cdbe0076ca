# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The curve from the agreement of a prediction with itself to a predicted Dice, fitted where labels exist."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from flare_mri.errors import InputError

LEAST_VOLUMES = 8
"""That a calibration may be fitted to."""
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
