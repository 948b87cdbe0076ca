# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Registry of the formats of images: a line each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flare_mri.config.base import describe_error, show_value
from flare_mri.config.data import DataSettings
from flare_mri.errors import InputError
from flare_mri.io.bart import BART
from flare_mri.io.bids import BIDS
from flare_mri.io.brats import BRATS
from flare_mri.io.datalist_2d import DATALIST_2D
from flare_mri.io.decathlon import DECATHLON
from flare_mri.io.dicom import DICOM
from flare_mri.io.fastmri import FASTMRI
from flare_mri.io.format import RECONSTRUCTION, SEGMENTATION, Format
from flare_mri.io.ismrmrd import ISMRMRD
from flare_mri.io.nifti import NIFTI
from flare_mri.io.phantom import PHANTOM
from flare_mri.io.prostate import PROSTATE

__all__ = [
    "FORMATS",
    "RECONSTRUCTION",
    "SEGMENTATION",
    "check_task",
    "naming_site",
    "read_data_settings",
    "sniff_format",
]

FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        PHANTOM,
        FASTMRI,
        ISMRMRD,
        BART,
        NIFTI,
        BRATS,
        DICOM,
        PROSTATE,
        DECATHLON,
        DATALIST_2D,
        BIDS,
    )
}


def read_data_settings(values: Any, origin: str, folder: Path) -> DataSettings:
    """The section `data` of a site.yaml.

    Args:
        values: as the YAML parser gave it.
        origin: how messages name site and file.
        folder: relative paths start here.

    Raises:
        InputError: a format or key is unknown, a value is missing, of the wrong type or out of range, or the data root
            is not there.
    """
    if not isinstance(values, dict):
        raise InputError(f"{origin}: data: expected a mapping 'key: value', got {show_value(values)}; write it as one")
    name = values.get("format")
    if not isinstance(name, str) or name not in FORMATS:
        got, fix = ("nothing", "add this key") if name is None else (show_value(name), "correct it there")
        raise InputError(f"{origin}: data.format: expected one of {', '.join(FORMATS)}, got {got}; {fix}")
    given = {key: value for key, value in values.items() if value is not None or key == "orientation"}
    try:
        return FORMATS[name].options.model_validate(given, context={"folder": folder})
    except ValidationError as error:
        raise InputError(f"{origin}: data.{describe_error(error, FORMATS[name].options)}") from error


def sniff_format(folder: Path) -> str:
    """The name of the format that a folder of data has.

    Raises:
        InputError: no format fits, or several do.
    """
    found = [name for name, entry in FORMATS.items() if entry.sniff(folder)]
    if len(found) != 1:
        got = f"one that fits {' and '.join(found)}" if found else "another"
        raise InputError(
            f"{folder}: expected a folder of one format of {', '.join(FORMATS)}, got {got}; set data.format in "
            "site.yaml"
        )
    return found[0]


def check_task(name: str, task: str) -> None:
    """Refuses a task that data of the format `name` cannot serve.

    Raises:
        InputError: names the formats that can.
    """
    if task not in FORMATS[name].tasks:
        able = ", ".join(key for key, value in FORMATS.items() if task in value.tasks)
        raise InputError(
            f"data.format: expected one of {able} for a {task} job, got {name!r}, whose data are for "
            f"{FORMATS[name].tasks[0]}; give the hospital a site.yaml for {task}: docs/how-to/apply-a-model.md has one "
            "for new scans without labels"
        )


@contextmanager
def naming_site(site: str) -> Iterator[None]:
    """Puts the site's name in front of every InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"site {site!r}: {error}") from error
