# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""fastMRI HDF5 files, single- and multi-coil."""

import math
from functools import partial
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import torch

from flare_mri.config.site import DataSettings
from flare_mri.errors import InputError
from flare_mri.files import MOST_SLICE_VALUES, check_volume, reading
from flare_mri.io.source import Source, chosen, listed
from flare_mri.transforms.kspace import ifft2c

_IMAGES = ("reconstruction_esc", "reconstruction_rss")
_MOST_CHUNK = 2**28  # bytes; HDF5 unpacks a whole chunk for one value of it, and keeps it where the cache holds it


def find_fastmri(settings: DataSettings) -> list[Source]:
    """Finds `<root>/*.h5`, one volume and one subject a file; `contrasts` are patterns of file names."""
    files = listed(settings.root, lambda path: path.suffix == ".h5" and path.is_file(), "fastMRI files *.h5")
    return [
        Source(path.stem, path.stem, (path,), partial(read_fastmri, path, settings))
        for path in chosen(files, settings.contrasts)
    ]


def read_fastmri(path: Path, settings: DataSettings) -> np.ndarray:
    """Reads the magnitudes of one file.

    They are `reconstruction_esc` [S, H, W] (emulated single coil), else `reconstruction_rss`, else they come from
    `kspace`: |F^-1 k| for a single coil [S, H, W], the root of the sum of squares over coils for [S, C, H, W].

    Args:
        path: HDF5 file.
        settings: its `slices` are read, no others.

    Returns:
        float32 [S, H, W].

    Raises:
        InputError: not HDF5, cut short, without these arrays in the file itself, of other dimensions, or more than the
            file can hold.
    """
    with reading(path), h5py.File(path, "r", rdcc_nbytes=_MOST_CHUNK) as file:
        name, data = _dataset(path, file)
        is_kspace = name == "kspace"
        _check(f"{path}: {name}", data, is_kspace)
        picked = settings.slices.indices(len(data))
        images = np.empty((len(picked), *data.shape[-2:]), np.float32)
        for place, index in enumerate(picked):
            images[place] = _magnitude(data[index], is_kspace)
        return images


def _dataset(path: Path, file: h5py.File) -> tuple[str, h5py.Dataset]:
    """The array to read and its name; a link to another place or file is not followed."""
    links = file.id.links
    name = next((name for name in (*_IMAGES, "kspace") if links.exists(name.encode())), None)
    if name and links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise InputError(f"{path}: {name}: expected an array in this file, got a link; copy the array itself into it")
    data = file[name] if name else None
    if name is None or not isinstance(data, h5py.Dataset):
        raise InputError(
            f"{path}: expected one of {', '.join(_IMAGES)}, kspace, got {', '.join(islice(file, 8)) or 'nothing'}; "
            "give fastMRI training or validation files (the test sets hold no images)"
        )
    if data.external or data.is_virtual:
        raise InputError(f"{path}: {name}: expected values in this file, got a reference to others; copy them into it")
    return name, data


def _check(where: str, data: h5py.Dataset, is_kspace: bool) -> None:
    """Axes, type and sizes, before any value is read."""
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
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > _MOST_CHUNK:
        raise InputError(
            f"{where}: expected chunks of at most {_MOST_CHUNK} bytes, got {list(data.chunks)}; use smaller ones"
        )


def _magnitude(array: np.ndarray, is_kspace: bool) -> np.ndarray:
    """One slice's image [H, W] from an image [H, W] or from k-space [H, W] or [C, H, W]."""
    if not is_kspace:
        return array.astype(np.float32)
    image = ifft2c(torch.from_numpy(array.astype(np.complex64))).abs().numpy()
    return image if image.ndim == 2 else np.sqrt((image**2).sum(0))
