# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""NIfTI volumes: a folder of them, or the layout of the BraTS challenge."""

import re
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import SpatialImage

from flare_mri.data.site_config import DataSettings
from flare_mri.data.source import Source, chosen, listed, reading
from flare_mri.errors import InputError


def find_nifti(settings: DataSettings) -> list[Source]:
    """Finds `<root>/*.nii` and `*.nii.gz`; `contrasts` are patterns of file names.

    Names that begin with a BIDS subject (`sub-01_T1w.nii.gz`) are of that subject, other files of one each.
    """
    files = chosen(listed(settings.root, _is_nifti, "NIfTI files *.nii or *.nii.gz"), settings.contrasts)
    sources = []
    for path in files:
        bids = re.match(r"sub-[A-Za-z0-9]+", path.name)
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        sources.append(Source(name, bids[0] if bids else name, (path,), partial(read_nifti, path, settings)))
    return sources


def find_brats(settings: DataSettings) -> list[Source]:
    """Finds `<root>/<case>/<case>_<contrast>.nii.gz` for every case folder and every contrast; a case is a subject.

    Raises:
        InputError: a case lacks a contrast.
    """
    sources = []
    for case in listed(settings.root, Path.is_dir, "case folders"):
        for contrast in settings.contrasts:
            stem = f"{case.name}_{contrast}"
            files = [path for end in (".nii.gz", ".nii") if (path := case / (stem + end)).is_file()]
            if not files:
                raise InputError(f"{case}: expected {stem}.nii.gz, got no such file; add it or correct data.contrasts")
            sources.append(Source(stem, case.name, (files[0],), partial(read_nifti, files[0], settings)))
    return sources


def read_nifti(path: Path, settings: DataSettings) -> np.ndarray:
    """Reads one volume in the orientation in which it is stored.

    Args:
        path: NIfTI-1 or -2, 3D.
        settings: `slice_axis` becomes the first axis, `slices` are taken along it; the other axes keep their order.

    Returns:
        [S, H, W] of the stored values with the header's slope and intercept applied.

    Raises:
        InputError: not a NIfTI file, cut short, not 3D or not of real numbers.
    """
    try:
        with reading(path):
            image = nibabel.load(path)
            if not isinstance(image, SpatialImage):
                raise ImageFileError(type(image).__name__)
            kind = image.get_data_dtype()
            if len(image.shape) != 3 or kind.kind not in "iuf":
                raise InputError(
                    f"{path}: expected a 3D volume of real numbers, got shape {list(image.shape)} of {kind}; "
                    "store one volume a file"
                )
            volume = np.moveaxis(np.asanyarray(image.dataobj), settings.slice_axis, 0)
    except ImageFileError as error:
        raise InputError(f"{path}: expected a NIfTI file, got: {error}; convert it or take it out") from error
    return volume[list(settings.slices.indices(len(volume)))]


def _is_nifti(path: Path) -> bool:
    return path.name.endswith((".nii", ".nii.gz")) and path.is_file()
