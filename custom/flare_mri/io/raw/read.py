# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a raw scan of any format, told by what is in the file."""

from pathlib import Path

import h5py

from flare_mri.errors import InputError
from flare_mri.files import reading
from flare_mri.io.hdf5 import is_there
from flare_mri.io.raw.acquisitions import find_dataset
from flare_mri.io.raw.bart import read_bart
from flare_mri.io.raw.fastmri_file import read_fastmri_raw
from flare_mri.io.raw.ismrmrd_file import read_ismrmrd
from flare_mri.io.raw.scan import RawScan

RAW_SUFFIXES = (".h5", ".mrd", ".cfl")
"""Of the files that hold raw scans; a `.hdr` lies beside its `.cfl`."""


def read_raw(path: Path) -> RawScan:
    """Reads one raw scan.

    Raises:
        InputError: neither fastMRI's layout, ISMRMRD nor BART's, or as the reader of its format says.
    """
    if path.suffix in (".cfl", ".hdr"):
        return read_bart(path)
    return read_ismrmrd(path) if is_ismrmrd(path) else read_fastmri_raw(path)


def is_ismrmrd(path: Path) -> bool:
    """Whether an HDF5 file holds acquisitions of ISMRMRD rather than arrays of fastMRI's layout.

    Raises:
        InputError: it is no HDF5 file.
    """
    with reading(path):
        if not path.is_file():
            raise InputError(f"{path}: no such file; give a raw scan ({', '.join(RAW_SUFFIXES)})")
        if not h5py.is_hdf5(path):
            raise InputError(
                f"{path}: expected a raw scan (HDF5 of ISMRMRD or fastMRI, or .cfl), got another or an empty file; "
                "copy the file again or leave it out"
            )
        with h5py.File(path, "r") as file:
            return not is_there(file, "kspace") and find_dataset(path, file) is not None
