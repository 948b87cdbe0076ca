# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `ismrmrd`: files of acquisitions as scanners' converters write them, for reconstruction of measured k-space.

Inati et al., "ISMRM Raw data format", MRM 2017.
"""

from pathlib import Path

import numpy as np

from flare_mri.errors import InputError
from flare_mri.io.format import RECONSTRUCTION, Format, in_files
from flare_mri.io.raw.format import RawSettings, find_raw
from flare_mri.io.raw.read import is_ismrmrd
from flare_mri.io.raw.samples import sample_scan, write_ismrmrd
from flare_mri.io.scan import Scan

_SUFFIXES = (".h5", ".mrd")


class IsmrmrdSettings(RawSettings):
    """Settings of format `ismrmrd`."""


def find_ismrmrd(settings: IsmrmrdSettings) -> list[Scan]:
    """Scans of `<root>/*.h5` and `*.mrd`."""
    return find_raw(settings.root, settings.include, _SUFFIXES, "ISMRMRD files *.h5 or *.mrd")


def sniff_ismrmrd(folder: Path) -> bool:
    """A folder whose first HDF5 file holds acquisitions."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES and path.is_file()]
    try:
        return bool(files) and is_ismrmrd(files[0])
    except InputError:
        return False


def write_ismrmrd_sample(folder: Path, rng: np.random.Generator) -> None:
    """Two files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("scan1.h5", "scan2.h5"):
        scan = sample_scan(rng)
        write_ismrmrd(folder / name, scan.kspace, noise=scan.noise)


ISMRMRD = Format(
    "ismrmrd", (RECONSTRUCTION,), IsmrmrdSettings, in_files(find_ismrmrd), sniff_ismrmrd, write_ismrmrd_sample
)
