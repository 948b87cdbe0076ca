# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""New scans at a hospital: files of the format of its settings, NIfTI files and DICOM series."""

from pathlib import Path

from flare_mri.config.data import DataSettings
from flare_mri.io.dicom import find_series
from flare_mri.io.formats import FORMATS, SEGMENTATION
from flare_mri.io.nifti import is_nifti
from flare_mri.io.nifti_file import strip_ending
from flare_mri.io.prostate import make_scan
from flare_mri.io.scan import Scan


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
    series = find_series(place)
    if series and (place.is_file() or not any(is_nifti(path) for path in place.iterdir())):
        return series
    if place.is_file() and is_nifti(place) and task != SEGMENTATION:
        return [make_scan(strip_ending(place.name), "", place, None)]
    entry = FORMATS[data.format]
    here = data.model_copy(update={"root": place, **({"include": ()} if place.is_file() else {})})
    if task == SEGMENTATION and entry.find_unlabelled is not None:
        return series + entry.find_unlabelled(here)
    return series + entry.find(here, site, task)
