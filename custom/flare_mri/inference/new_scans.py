# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""New scans at a hospital: files of the format of its settings, NIfTI files and DICOM series."""

from pathlib import Path

from flare_mri.config.data import DataSettings
from flare_mri.errors import InputError
from flare_mri.io.dicom import find_series
from flare_mri.io.formats import FORMATS, SEGMENTATION
from flare_mri.io.nifti import is_nifti
from flare_mri.io.nifti_file import strip_ending
from flare_mri.io.prostate import make_scan
from flare_mri.io.scan import Scan

_ROOT = "data.root: "  # of the site's own data, as which new scans are looked for


def find_new_scans(data: DataSettings, site: str, task: str, place: Path) -> list[Scan]:
    """Scans without labels at a place, whatever the site learned from; no voxel is read.

    Args:
        data: settings of the site, which say how its own files are laid out.
        site: its name.
        task: of the model.
        place: a file; a DICOM series, which is a folder; a folder of series and NIfTI files; or a folder laid out as
            `data.root`.

    Raises:
        InputError: there is none.
    """
    if place.is_dir() and all(path.name.startswith(".") for path in place.iterdir()):
        raise InputError(
            f"scans: {place}: expected DICOM series, NIfTI files or files of {data.format}, got an empty folder; give "
            "the folder that holds the new scans"
        )
    series = find_series(place)
    if series and (place.is_file() or not any(is_nifti(path) for path in place.iterdir())):
        return series
    if place.is_file() and is_nifti(place) and task != SEGMENTATION:
        return [make_scan(strip_ending(place.name), "", place, None)]
    try:
        return series + _find_own(data, site, task, place)
    except InputError as error:
        if not str(error).startswith(_ROOT):
            raise
        raise InputError(f"scans: {str(error).removeprefix(_ROOT)}, or give a DICOM series or NIfTI files") from error


def _find_own(data: DataSettings, site: str, task: str, place: Path) -> list[Scan]:
    """Scans laid out as the site's own."""
    entry = FORMATS[data.format]
    here = data.model_copy(update={"root": place, **({"include": ()} if place.is_file() else {})})
    if task == SEGMENTATION and entry.find_unlabelled is not None:
        return entry.find_unlabelled(here)
    return entry.find(here, site, task)
