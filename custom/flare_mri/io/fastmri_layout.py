# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Layout of fastMRI's HDF5 files: names of arrays, their axes and sizes, the header."""

import math
from pathlib import Path

import h5py

from flare_mri.errors import InputError
from flare_mri.files import MOST_SLICE_VALUES, check_volume
from flare_mri.io.hdf5 import check_chunks, is_there, own_child, read_text
from flare_mri.io.raw.header import Header, parse_header

IMAGES = ("reconstruction_esc", "reconstruction_rss")
HEADER = "ismrmrd_header"


def read_header(file: h5py.File) -> Header:
    """The `ismrmrd_header` of a file; an empty one where it has none that can be used."""
    try:
        if not is_there(file, HEADER):
            return Header()
        path = Path(file.filename)
        text = read_text(path, own_child(path, file, HEADER, h5py.Dataset))
        return Header() if text is None else parse_header(text)
    except ValueError:  # InputError too: a file without a header, or with a broken one, still has its images
        return Header()


def check_array(where: str, data: h5py.Dataset, is_kspace: bool) -> None:
    """Axes, type and sizes of images or k-space, before any value is read.

    Raises:
        InputError: other axes or numbers, too large, or more than the file can hold.
    """
    shape: tuple[int, ...] = tuple(data.shape or ())
    kind = data.dtype.kind
    if len(shape) not in ((3, 4) if is_kspace else (3,)):
        raise InputError(f"{where}: expected [S, H, W], got {list(shape)}; leave the file out")
    if kind not in ("iufc" if is_kspace else "iuf"):
        raise InputError(
            f"{where}: expected {'complex' if is_kspace else 'real'} numbers, got {data.dtype}; leave it out"
        )
    coils = shape[1] if len(shape) == 4 else 1
    stored = data.id.get_storage_size()
    if coils < 1 or math.prod(shape[1:]) > MOST_SLICE_VALUES:
        raise InputError(
            f"{where}: expected at most {MOST_SLICE_VALUES} values a slice, got {list(shape)}; leave it out"
        )
    check_volume(where, (shape[0], *shape[-2:]), coils * data.dtype.itemsize, stored, data.chunks is not None)
    check_chunks(where, data)
