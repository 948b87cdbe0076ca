# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Result of applying a model to one scan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Result:
    """One scan done.

    Attributes:
        content: of the file to write.
        text: what a line of progress says of it.
        pictures: one slice [H, W] to look at: `input` and `output`, with `target` where it is known.
        scores: mean metrics, where the scan was fully sampled.
        more: contents of further files, by the ending of :attr:`Application.more_endings`.
        warnings: how the scan differs from what the model knows, or why not to trust the result, a line each.
        predicted_dice: of labels, see :mod:`flare_mri.inference.quality`.
    """

    content: bytes
    text: str
    pictures: Mapping[str, np.ndarray]
    scores: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, bytes] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    predicted_dice: float | None = None


class Application(Protocol):
    """A model with the scans it is to be applied to.

    Attributes:
        names: of the scans.
        ending: of the files to write, after a scan's name.
        more_endings: of further files of each scan.
        organs: names of the classes of outputs that are labels; empty: outputs are images.
    """

    names: list[str]
    ending: str
    more_endings: tuple[str, ...]
    organs: tuple[str, ...]

    def apply(self, number: int) -> Result:
        """Reads scan `number` and applies the model to it."""
