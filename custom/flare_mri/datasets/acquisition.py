# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""How scans for reconstruction were acquired, and how those of a new scan differ from what a model learned from."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from flare_mri.errors import InputError

MEASURED, SIMULATED = "measured", "simulated"
_FACTOR = 1.15  # accelerations and fields of view that differ by less are the same protocol's
_MOST = 1e6
_MOST_NAMES = 8  # of contrasts, in a line


@dataclass(frozen=True)
class Acquisition:
    """What of an acquisition a model depends on.

    Attributes:
        kspace: `measured`, or `simulated`, from magnitudes or of a phantom.
        coils: their number; 1 where k-space is simulated from magnitudes.
        spatial_size: (H, W) of the slices.
        acceleration: all samples of k-space over those that are used, 1 or more.
        field_of_view: mm along H and W; None where a file does not say.
        contrasts: what raw files call the contrasts of their scans, sorted; empty where one of them does not say.
    """

    kspace: str
    coils: int
    spatial_size: tuple[int, int]
    acceleration: float
    field_of_view: tuple[float, float] | None = None
    contrasts: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON, see :func:`acquisition_from`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def find_differences(self, learned: "Acquisition") -> list[str]:
        """Of this scan from what a model learned from, a line each; names of contrasts that both know are compared.

        Args:
            learned: of the model's training data.
        """
        found = []
        if self.kspace != learned.kspace:
            found.append(f"its k-space is {self.kspace}, the model learned from {learned.kspace} k-space")
        if self.coils != learned.coils and self.kspace == learned.kspace:
            found.append(f"{self.coils} coil{'s' * (self.coils > 1)}, the model learned from {learned.coils}")
        if self.spatial_size != learned.spatial_size:
            found.append(f"slices of {_size(self.spatial_size)}, the model learned from {_size(learned.spatial_size)}")
        if _differ(self.acceleration, learned.acceleration):
            found.append(
                f"acceleration {self.acceleration:.1f}, the lines of the centre counted; the model learned from "
                f"{learned.acceleration:.1f}, and one for this protocol learns with it as the mask of site.yaml"
            )
        pairs = zip(self.field_of_view or (), learned.field_of_view or (), strict=False)
        if any(_differ(*pair) for pair in pairs):
            fields_of_view = _size(self.field_of_view or ()), _size(learned.field_of_view or ())
            found.append("a field of view of {} mm, the model learned from {} mm".format(*fields_of_view))
        known = {_plain(name) for name in learned.contrasts}
        if known and (others := [name for name in self.contrasts if _plain(name) not in known]):
            more = ", ..." if len(learned.contrasts) > _MOST_NAMES else ""
            names = ", ".join(learned.contrasts[:_MOST_NAMES]) + more
            found.append(f"the contrast {', '.join(others)}, the model learned from {names}")
        return found


def acquisition_from(described: Any) -> Acquisition:
    """The acquisition in a file's description.

    Raises:
        InputError: it is none.
    """
    names = {field.name for field in fields(Acquisition)}
    if isinstance(described, dict) and set(described) | {"contrasts"} == names:  # models of before have no contrasts
        size, field = described["spatial_size"], described["field_of_view"]
        contrasts = described.get("contrasts", [])
        good = described["kspace"] in (MEASURED, SIMULATED) and _are_counts([described["coils"]], 1)
        good = good and isinstance(size, list) and _are_counts(size, 2) and _are_numbers([described["acceleration"]], 1)
        good = good and isinstance(contrasts, list) and all(isinstance(name, str) for name in contrasts)
        if good and (field is None or isinstance(field, list) and _are_numbers(field, 2)):
            field = None if field is None else (float(field[0]), float(field[1]))
            shape = (size[0], size[1])
            acceleration = float(described["acceleration"])
            kspace, coils = described["kspace"], described["coils"]
            return Acquisition(kspace, coils, shape, acceleration, field, tuple(contrasts))
    raise InputError(f"acquisition: expected {', '.join(sorted(names))}, got {described!r:.200}")


def _are_counts(values: list[Any], number: int) -> bool:
    return len(values) == number and all(type(value) is int and 0 < value < _MOST for value in values)


def _are_numbers(values: list[Any], number: int) -> bool:
    return len(values) == number and all(type(value) in (int, float) and 0 < value < _MOST for value in values)


def _differ(one: float, other: float) -> bool:
    return abs(math.log(one / other)) > math.log(_FACTOR)


def _plain(name: str) -> str:
    """A name as it is compared: AX_T2 and `ax t2` are one."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _size(values: Iterable[float]) -> str:
    return "x".join(f"{value:.0f}" for value in values)
