# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The organs that a job learns, among those that a site labels."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from flare_mri.config.segmentation import IGNORED, ORGAN
from flare_mri.errors import InputError


@dataclass(frozen=True)
class OrganTable:
    """From a site's labels to the classes of a job.

    Attributes:
        organs: of the job, whose classes 1, 2, ... follow this order.
        labelled: classes of those that the site labels.
        classes: uint8 [256], for each number in the site's labels the class: 0 for an organ that the job does not
            learn, :data:`~flare_mri.config.segmentation.IGNORED` where the truth is not known.
    """

    organs: tuple[str, ...]
    labelled: tuple[int, ...]
    classes: np.ndarray

    @property
    def missing(self) -> tuple[str, ...]:
        """Organs of the job that the site does not label."""
        return tuple(name for at, name in enumerate(self.organs, 1) if at not in self.labelled)

    def apply(self, label: np.ndarray) -> np.ndarray:
        """Classes uint8 of numbers of the site's organs, of any shape."""
        return self.classes[label.astype(np.uint8)]


def match_organs(organs: Sequence[str], labelled: Collection[str] | None) -> OrganTable:
    """The table of a site.

    One organ on either side that is not named (:data:`~flare_mri.config.segmentation.ORGAN`) is the one of the other.

    Args:
        organs: of the job.
        labelled: organs in the order of their numbers in the site's labels; None: one, without a name; empty: the site
            has no labels.

    Raises:
        InputError: the site labels none of the job's.
    """
    names = [ORGAN] if labelled is None else list(labelled)
    if len(organs) == len(names) == 1 and ORGAN in (organs[0], names[0]):
        names = list(organs)
    classes = np.zeros(256, np.uint8)
    classes[IGNORED] = IGNORED
    for number, name in enumerate(names, 1):
        classes[number] = organs.index(name) + 1 if name in organs else 0
    found = tuple(sorted({int(one) for one in classes[1:IGNORED] if one}))
    if not found and names:
        raise InputError(
            f"data.labels: expected some of the job's organs ({', '.join(organs)}), got {', '.join(names)}; name them "
            "in site.yaml as the job does, or learn them with --organs"
        )
    return OrganTable(tuple(organs), found, classes)
