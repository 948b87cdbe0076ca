# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The section `data` of site.yaml: the keys that all formats have, and the kinds of values that formats add."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from flare_mri.config.base import Settings
from flare_mri.config.segmentation import ORGAN

FORMATS_OF_FILES = (
    "fastmri",
    "ismrmrd",
    "bart",
    "nifti",
    "brats",
    "dicom",
    "prostate",
    "decathlon",
    "datalist_2d",
    "bids",
)
"""Formats of data that lie in files, as the registry :data:`flare_mri.io.formats.FORMATS` has them: help tells them
without MONAI, and a test compares."""

_MOST_PIXELS = 2048  # of an axis of a slice
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::-(?P<default>[^}]*))?\}|(?P<bare>\w+))")
_AXES = {"R": "RL", "L": "RL", "A": "AP", "P": "AP", "S": "SI", "I": "SI"}


def expand_path(text: Any, info: ValidationInfo) -> Any:
    """A path with $VARIABLE, ${VARIABLE:-default} and ~ expanded; a relative one starts at the settings file's folder.

    Raises:
        ValueError: no text, a variable that is not set, or a home folder of nobody.
    """
    if isinstance(text, Path):
        return text
    if not isinstance(text, str) or "\0" in text:
        raise ValueError("expected a path")

    def value_of(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"]
        value = os.environ.get(name) or match["default"]
        if value is None:
            raise ValueError(f"expected the variable {name} of the environment (set it, or write the path)")
        return value

    folder = (info.context or {}).get("folder", Path())
    try:
        return Path(os.path.normpath(folder / Path(_VARIABLE.sub(value_of, text)).expanduser()))
    except RuntimeError as error:  # ~name of nobody on this machine
        raise ValueError("expected a path (write the home folder itself)") from error


def _existing(kind: str, exists: Callable[[Path], bool]) -> AfterValidator:
    def check(path: Path) -> Path:
        if not exists(path):
            raise ValueError(f"expected an existing {kind} (correct the path or mount the data)")
        return path

    return AfterValidator(check)


def _sizes(value: Any) -> Any:
    if isinstance(value, tuple):
        return value
    fits = isinstance(value, list) and len(value) == 2
    if not fits or not all(type(size) is int and 16 <= size <= _MOST_PIXELS for size in value):
        raise ValueError(f"expected two whole numbers >= 16 and <= {_MOST_PIXELS}, [height, width]")
    return tuple(value)


def _spacing(value: Any) -> Any:
    if isinstance(value, tuple):
        return value
    fits = isinstance(value, list) and len(value) == 3
    if not fits or not all(type(mm) in (int, float) and 0.1 <= mm <= 100 for mm in value):
        raise ValueError("expected three distances in mm from 0.1 to 100, one for each axis")
    return tuple(float(mm) for mm in value)


def _texts(value: Any) -> Any:
    if isinstance(value, tuple):
        return value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("expected a list of text such as [flair, t2]")
    return tuple(value)


def _axcodes(value: str) -> str:
    if len(value) != 3 or {_AXES.get(code) for code in value} != {"RL", "AP", "SI"}:
        raise ValueError("expected three axis codes such as RAS or LPS")
    return value


ExpandedPath = Annotated[Path, BeforeValidator(expand_path)]
Folder = Annotated[Path, BeforeValidator(expand_path), _existing("folder", os.path.isdir)]
File = Annotated[Path, BeforeValidator(expand_path), _existing("JSON file", os.path.isfile)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
Pixels = Annotated[int, Field(ge=16, le=_MOST_PIXELS)]
Millimetres = Annotated[float, Field(ge=0.1, le=100)]
SpatialSize = Annotated[tuple[Pixels, Pixels], BeforeValidator(_sizes)]
Spacing = Annotated[tuple[Millimetres, Millimetres, Millimetres], BeforeValidator(_spacing)]
AxisCodes = Annotated[str, AfterValidator(_axcodes), Field(json_schema_extra={"pattern": "^[RLAPSI]{3}$"})]


class SliceRange(Settings):
    """The slices of a volume to take: `range(start, stop, step)`, `stop` clipped to the volume; none: to the end."""

    start: int = Field(0, ge=0, le=2**31)
    """first slice, from 0"""
    stop: int | None = Field(None, ge=1, le=2**31)
    """slice before which to end; none: that after the last"""
    step: int = Field(1, ge=1, le=2**31)
    """1 takes all, 2 every second"""
    labelled: bool = False
    """segmentation: of these only slices that hold label, as the IOP-FL paper; `slices: labelled` says it for all"""

    @field_validator("stop")
    @classmethod
    def _after_start(cls, stop: int | None, info: ValidationInfo) -> int | None:
        start = info.data.get("start", 0)
        if stop is not None and stop <= start:
            raise ValueError(f"expected a number above start ({start})")
        return stop

    def indices(self, count: int) -> range:
        """The chosen indices of `count` slices."""
        return range(count)[self.start : self.stop : self.step]


def _slices(value: Any) -> Any:
    return {"labelled": True} if value == "labelled" else value


Slices = Annotated[SliceRange, BeforeValidator(_slices, json_schema_input_type=SliceRange | Literal["labelled"])]


class DataSettings(Settings):
    """Place of the volumes and the part of them to take: the keys of all formats, to which each adds its own."""

    renamed: ClassVar[dict[str, str]] = {"contrasts": "include", "matrix": "spatial_size"}

    format: str
    """name of the format of the files"""
    slices: Slices = SliceRange()
    """slices to take, as Python's range, along the slice axis; `labelled`: those that hold label"""
    spatial_size: SpatialSize | None = None
    """[height, width] of the slices; reconstruction: by a crop or zero-padding of k-space; none: as they are"""
    orientation: AxisCodes | None = None
    """axis codes such as RAS to which scans are turned; none: as they are stored"""
    spacing: Spacing | None = None
    """mm between voxels to which scans are resampled, one for each axis after turning; none: as they are"""
    augmentation: bool | Texts | None = None
    """random transforms in training: true: the task's, false: none, a list: these of the task's; none: as the job"""

    def is_raw(self) -> bool:
        """Whether scans for reconstruction are k-space of all coils, not images; it may have to look at the files.

        Raises:
            InputError: a file of a format that may hold either cannot be read.
        """
        return False

    def find_slice_axis(self) -> int:
        """The axis of the slices, after the scan was turned to `orientation`."""
        return 2

    def find_fit(self) -> str:
        """The way slices get to `spatial_size` in segmentation: `pad` (or crop) about the centre, or `resize`."""
        return "pad"

    def is_inverted(self) -> bool:
        """Whether z-scored images are taken as their negatives in segmentation."""
        return False

    def find_labels(self) -> dict[str, tuple[int, ...]] | None:
        """Values in label files of each organ that the site labels, by its name; None: all above 0 are one organ.

        Raises:
            InputError: a list that says so cannot be read.
        """
        return {ORGAN: (1,)}

    def is_listed(self) -> bool:
        """Whether the site's own list says what is for training, validation and test; there is nothing to split.

        Raises:
            InputError: a list that says so cannot be read.
        """
        return False

    def find_root(self) -> Path | None:
        """The folder of the data; None for a phantom."""
        return None

    def find_lists(self) -> dict[str, Path]:
        """Files beside the data that settings name, by key."""
        return {}


class RootedSettings(DataSettings):
    """Data in files."""

    root: Folder
    """folder of the data; relative: from this file; ~, $VAR and ${VAR:-default} are expanded"""

    def find_root(self) -> Path | None:
        return self.root


class NiftiSettings(RootedSettings):
    """Data in NIfTI files, which say how their axes lie."""

    orientation: AxisCodes | None = "RAS"
    """axis codes to which scans are turned; none: as they are stored"""
    slice_axis: Literal[0, 1, 2] = 2
    """axis of the slices, after the scan was turned to `orientation`"""

    def find_slice_axis(self) -> int:
        return self.slice_axis
