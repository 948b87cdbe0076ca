# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The keys of `data` in site.yaml that say what a site's labels are."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from flare_mri.config.data import NiftiSettings
from flare_mri.config.segmentation import MOST_ORGANS, OrganName


def _labels(value: Any) -> Any:
    if not isinstance(value, dict) or not value or len(value) > MOST_ORGANS:
        raise ValueError(f"expected 1 to {MOST_ORGANS} organs by name, such as {{liver: 1, kidney: [2, 3]}}")
    found = {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
    found = {name: (one,) if type(one) is int else one for name, one in found.items()}
    numbers = [number for one in found.values() for number in (one if isinstance(one, tuple) else ("",))]
    if not all(type(number) is int and 1 <= number <= 2**15 for number in numbers):
        raise ValueError("expected for each organ its value in the files, or a list of them, whole numbers from 1")
    if len(set(numbers)) < len(numbers) or not all(found.values()):
        raise ValueError("expected every value once, and at least one for each organ")
    return found


Fit = Literal["pad", "resize"]
Colour = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]
Labels = Annotated[
    dict[OrganName, tuple[int, ...]],
    BeforeValidator(_labels, json_schema_input_type=dict[OrganName, int | list[int]]),
]


class LabelledSettings(NiftiSettings):
    """Scans to segment, with labels."""

    fit: Fit = "pad"
    """how slices get to `spatial_size`: pad (and crop) about the centre, or resize"""
    inverted: bool = False
    """whether bright and dark are the other way round than at most sites: images are taken as their negatives"""
    labels: Labels | None = None
    """organs that the site labels, and their values in its files, such as {liver: 1, kidney: [2, 3]}; none: one organ,
    whatever its name, unless a list says so"""
    colours: dict[OrganName, Colour] = {}
    """of organs in the site's own pictures, such as {liver: "#ffd60a"}; others have those of a palette"""
    ignore_label: int | None = Field(None, ge=0, le=2**15)
    """value of voxels of which the truth is not known: neither learned from nor scored"""

    @model_validator(mode="after")
    def _ignores_no_organ(self) -> "LabelledSettings":
        if any(self.ignore_label in values for values in (self.labels or {}).values()):
            raise ValueError("ignore_label: expected a value of no organ, got one of data.labels; correct one of them")
        return self

    def find_fit(self) -> str:
        return self.fit

    def is_inverted(self) -> bool:
        return self.inverted

    def find_labels(self) -> dict[str, tuple[int, ...]] | None:
        return self.labels or super().find_labels()
