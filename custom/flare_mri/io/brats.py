# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `brats`: a folder a case, a NIfTI file a contrast in it, for reconstruction."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator

from flare_mri.config.data import NiftiSettings, SliceRange, Slices, Texts
from flare_mri.errors import InputError
from flare_mri.io.format import RECONSTRUCTION, Format, in_files
from flare_mri.io.listing import list_entries
from flare_mri.io.nifti_file import NiftiReader, write_nifti
from flare_mri.io.scan import Scan, ScanFile


def _some(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    if not suffixes:
        raise ValueError("expected the suffixes of the files to take, such as [flair, t2]")
    return suffixes


class BratsSettings(NiftiSettings):
    """Settings of format `brats`."""

    include: Annotated[Texts, AfterValidator(_some)]
    """suffixes of the files to take, such as [flair, t2]"""
    slices: Slices = SliceRange(start=40, stop=120)
    """slices to take, as Python's range, along the slice axis"""


def find_brats(settings: BratsSettings) -> list[Scan]:
    """Scans of `<root>/<case>/<case>_<suffix>.nii.gz`, for every case folder and every suffix; a case is a subject.

    Raises:
        InputError: a case lacks a file.
    """
    scans = []
    for case in list_entries(settings.root, Path.is_dir, "case folders"):
        for suffix in settings.include:
            stem = f"{case.name}_{suffix}"
            files = [path for end in (".nii.gz", ".nii") if (path := case / (stem + end)).is_file()]
            if not files:
                raise InputError(f"{case}: expected {stem}.nii.gz, got no such file; add it or correct data.include")
            scans.append(Scan(stem, case.name, ScanFile((files[0],), NiftiReader())))
    return scans


def sniff_brats(folder: Path) -> bool:
    """Case folders with NIfTI files that begin with the folder's name."""
    cases = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return bool(cases) and all(any(case.glob(f"{case.name}_*.nii*")) for case in cases)


def write_brats_sample(folder: Path, rng: np.random.Generator) -> None:
    """Two cases of two contrasts."""
    for case in ("BraTS-001", "BraTS-002"):
        for suffix in ("flair", "t2"):
            write_nifti(folder / case / f"{case}_{suffix}.nii.gz", rng.random((20, 18, 44), np.float32) + 1)


BRATS = Format(
    "brats",
    (RECONSTRUCTION,),
    BratsSettings,
    in_files(find_brats),
    sniff_brats,
    write_brats_sample,
    sample_keys={"include": ["flair", "t2"]},
)
