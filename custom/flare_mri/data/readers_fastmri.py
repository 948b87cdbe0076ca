# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""fastMRI HDF5 files, single- and multi-coil."""

from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch

from flare_mri.data.kspace import ifft2c
from flare_mri.data.site_config import DataSettings
from flare_mri.data.source import Source, chosen, listed, reading
from flare_mri.errors import InputError

_IMAGES = ("reconstruction_esc", "reconstruction_rss")


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
        InputError: not HDF5, cut short, without these arrays or of other dimensions.
    """
    with reading(path), h5py.File(path, "r") as file:
        name = next((name for name in (*_IMAGES, "kspace") if name in file), None)
        data = file[name] if name else None
        if not isinstance(data, h5py.Dataset):
            raise InputError(
                f"{path}: expected one of {', '.join(_IMAGES)}, kspace, got {', '.join(file) or 'nothing'}; "
                "give fastMRI training or validation files (the test sets hold no images)"
            )
        if data.ndim not in ((3, 4) if name == "kspace" else (3,)):
            raise InputError(f"{path}: {name}: expected [S, H, W], got {list(data.shape)}; leave the file out")
        picked = settings.slices.indices(len(data))
        if not picked:
            return np.empty((0, *data.shape[-2:]), np.float32)
        return np.stack([_magnitude(data[index], name == "kspace") for index in picked])


def _magnitude(array: np.ndarray, is_kspace: bool) -> np.ndarray:
    """One slice's image [H, W] from an image [H, W] or from k-space [H, W] or [C, H, W]."""
    if not is_kspace:
        return array.astype(np.float32)
    image = ifft2c(torch.from_numpy(array.astype(np.complex64))).abs().numpy()
    return image if image.ndim == 2 else np.sqrt((image**2).sum(0))
