# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""NIfTI volumes: a folder of them, or the layout of the BraTS challenge."""

import re
from functools import partial
from pathlib import Path

import numpy as np

from flare_mri.config.site import DataSettings
from flare_mri.errors import InputError
from flare_mri.io.nifti_file import open_nifti
from flare_mri.io.source import Source, chosen, listed


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
        InputError: not a NIfTI file, cut short, not 3D, not of real numbers, or of more voxels than it can hold.
    """
    volume = np.moveaxis(open_nifti(path, axes=(3,)).read(), settings.slice_axis, 0)
    return volume[list(settings.slices.indices(len(volume)))]


def _is_nifti(path: Path) -> bool:
    return path.name.endswith((".nii", ".nii.gz")) and path.is_file()
