# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `nifti`: a folder of 3D NIfTI images, for reconstruction."""

import re
from pathlib import Path

import numpy as np

from flare_mri.config.data import NiftiSettings, Texts
from flare_mri.io.format import RECONSTRUCTION, Format, in_files
from flare_mri.io.listing import choose_entries, list_entries
from flare_mri.io.nifti_file import NIFTI_NAME, NiftiReader, strip_ending, write_nifti
from flare_mri.io.scan import Scan, ScanFile


class NiftiFolderSettings(NiftiSettings):
    """Settings of format `nifti`."""

    include: Texts = ()
    """patterns of file names to take, such as ["*_T1w*"]; none: all"""


def find_nifti(settings: NiftiFolderSettings) -> list[Scan]:
    """Scans of `<root>/*.nii` and `*.nii.gz`.

    Names that begin with a BIDS subject (`sub-01_T1w.nii.gz`) are of that subject, other files of one each.
    """
    files = list_entries(settings.root, is_nifti, "NIfTI files *.nii or *.nii.gz")
    scans = []
    for path in choose_entries(files, settings.include):
        bids, name = re.match(r"sub-[A-Za-z0-9]+", path.name), strip_ending(path.name)
        scans.append(Scan(name, bids[0] if bids else name, ScanFile((path,), NiftiReader())))
    return scans


def is_nifti(path: Path) -> bool:
    """Whether a path is a file with a NIfTI name."""
    return bool(NIFTI_NAME.search(path.name)) and path.is_file()


def sniff_nifti(folder: Path) -> bool:
    """A folder of NIfTI files of which none is named as a label."""
    files = [path for path in folder.iterdir() if is_nifti(path)]
    return bool(files) and not any(re.search(r"seg(mentation)?\.nii", path.name, re.IGNORECASE) for path in files)


def write_nifti_sample(folder: Path, rng: np.random.Generator) -> None:
    """Two small images."""
    for name in ("sub-01_T1w.nii.gz", "sub-02_T1w.nii"):
        write_nifti(folder / name, rng.integers(1, 1000, (20, 18, 4)).astype(np.int16))


NIFTI = Format("nifti", (RECONSTRUCTION,), NiftiFolderSettings, in_files(find_nifti), sniff_nifti, write_nifti_sample)
