# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Volumes of the organs that a model learned from, and a warning where those it marks in a new scan are far off."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flare_mri.errors import InputError

FACTOR = 2.0
"""Times the largest learned volume, or below the smallest, from which on an organ is warned of."""
_MOST = 1e6


@dataclass(frozen=True)
class OrganSizes:
    """The smallest and the largest volume of each organ in a site's training labels, private to it.

    Attributes:
        millilitres: (least, most) by the organ's name; without organs that no training volume shows.
    """

    millilitres: Mapping[str, tuple[float, float]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON, see :func:`organ_sizes_from`."""
        return {name: list(pair) for name, pair in self.millilitres.items()}

    def find_differences(self, found: Mapping[str, float]) -> list[str]:
        """Of what was marked in a new scan from what the model learned, a line each.

        Args:
            found: millilitres by the organ's name, above 0.
        """
        told = []
        for name, (least, most) in self.millilitres.items():
            size = found.get(name, 0.0)
            if size and not least / FACTOR <= size <= FACTOR * most:
                told.append(f"{name} of {size:.3g} ml, the model learned from {least:.3g} to {most:.3g} ml")
        return told


def organ_sizes_from(described: Any) -> OrganSizes:
    """The sizes in a file's description.

    Raises:
        InputError: they are none.
    """
    if isinstance(described, dict) and all(_is_range(pair) for pair in described.values()):
        return OrganSizes({str(name): (float(pair[0]), float(pair[1])) for name, pair in described.items()})
    raise InputError(f"organ_sizes: expected two millilitres for each organ, got {described!r:.200}")


def _is_range(pair: Any) -> bool:
    numbers = isinstance(pair, list) and len(pair) == 2 and all(type(value) in (int, float) for value in pair)
    return numbers and 0 < pair[0] <= pair[1] < _MOST
