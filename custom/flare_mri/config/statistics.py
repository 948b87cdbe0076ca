# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of a site's data: what is told of patients, and what a hospital holds back."""

import re
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

from pydantic import Field, model_validator

from flare_mri.config.base import Settings

INTENSITY: Final = "intensity"
INTENSITY_BINS: Final = 48
INTENSITY_RANGE: Final = (0.0, 1.5)
"""Of voxel values over the 99th percentile of their scan: the same bins at every site, whatever a server asks for."""
MOST_BINS: Final = 64

DATASET: Final = "patients"
FEATURE: Final = re.compile(
    rf"({INTENSITY}|brightness|scans|slices|height|width|(slice|row|column)_spacing|coils|acceleration"
    r"|(volume_ml|label_voxels|label_slices)\.[A-Za-z0-9_-]{1,32})\Z"
)
"""Names of what may be told of patients."""


class StatisticsSettings(Settings):
    """What of the statistics of its data a hospital holds back, in the words of FLARE's privacy filters."""

    min_count: Annotated[int, Field(ge=1, le=10**6)] = 5
    """nothing is told of fewer patients than so many, their number neither"""
    max_bins_percent: Annotated[float, Field(gt=0, le=100)] = 50
    """no histogram has more bins than so many percent of its patients"""
    min_noise_level: Annotated[float, Field(ge=0, le=1)] = 0.1
    """least part by which the ends of a histogram are moved outwards, at random"""
    max_noise_level: Annotated[float, Field(ge=0, le=1)] = 0.3
    """largest part by which they are moved"""

    @model_validator(mode="after")
    def _check_noise(self) -> "StatisticsSettings":
        if self.min_noise_level > self.max_noise_level:
            raise ValueError(
                f"min_noise_level: expected at most max_noise_level, {self.max_noise_level:g}, got "
                f"{self.min_noise_level:g}; correct it there"
            )
        return self


class Feature(NamedTuple):
    """A feature for people to read: its name, and the unit or what its numbers are."""

    title: str
    unit: str


_TITLES = {
    INTENSITY: Feature("Intensities", "over the scan's 99th percentile"),
    "brightness": Feature("Brightness", "log10 of the 99th percentile, files' units"),
    "scans": Feature("Scans of a patient", "number"),
    "slices": Feature("Slices of a scan", "number"),
    "height": Feature("Height of slices", "voxels"),
    "width": Feature("Width of slices", "voxels"),
    "slice_spacing": Feature("Between slices", "mm"),
    "row_spacing": Feature("Between rows", "mm"),
    "column_spacing": Feature("Between columns", "mm"),
    "coils": Feature("Coils", "number"),
    "acceleration": Feature("Acceleration as measured", "ratio"),
    "volume_ml": Feature("Volume of {}", "ml"),
    "label_voxels": Feature("Voxels of {}", "number"),
    "label_slices": Feature("Slices with {}", "number"),
}


def describe_feature(name: str) -> Feature:
    """A feature's title and unit.

    Raises:
        KeyError: no feature of that name.
    """
    kind, _, organ = name.partition(".")
    title, unit = _TITLES[kind]
    return Feature(title.format(organ), unit)


def place_of(name: str) -> tuple[int, str]:
    """The place of a feature in a list that people read."""
    return list(_TITLES).index(name.partition(".")[0]), name


SiteValue = dict[str, dict[str, Any]]


class StatisticsFile(Settings):
    """``statistics.json``, which a job site_statistics leaves on the server."""

    fix: ClassVar[str] = "use the statistics.json of a finished job site_statistics"
    mapping: ClassVar[str] = "an object"

    format_version: Literal[1]
    """number of the format, 1"""
    job: str
    """name of the job"""
    created: str
    """when it was written"""
    versions: dict[str, str]
    """versions of packages"""
    sites: list[str]
    """names of the sites that answered"""
    statistics: dict[str, dict[str, SiteValue]]
    """as FLARE has them: feature, statistic, site or Global, ``patients``, value; of a histogram [low, high, count]"""
