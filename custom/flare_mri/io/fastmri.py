# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `fastmri`: HDF5 files of fastMRI's layout, their k-space or their magnitudes, for reconstruction."""

from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from flare_mri.errors import InputError
from flare_mri.files import reading
from flare_mri.io.fastmri_layout import HEADER, IMAGES, check_array, read_header
from flare_mri.io.format import RECONSTRUCTION, Format, in_files
from flare_mri.io.hdf5 import MOST_CHUNK, is_there, own_child
from flare_mri.io.listing import choose_entries, list_entries
from flare_mri.io.raw.acquisitions import find_dataset
from flare_mri.io.raw.format import RawSettings
from flare_mri.io.raw.named import subject_of
from flare_mri.io.raw.reader import RawReader
from flare_mri.io.scan import Geometry, Scan, ScanFile, ScanReader
from flare_mri.physics.fourier import ifft2c


class FastMRISettings(RawSettings):
    """Settings of format `fastmri`."""

    simulate: bool | None = None
    """simulate k-space of one coil from finished magnitudes; none: where the files hold no k-space, or images are to be
    resampled by `spatial_size`, `spacing` or `orientation`, which measured k-space cannot be"""

    def is_raw(self) -> bool:
        """As `simulate` says, or else the first file that can be opened; one of ISMRMRD among them is raw, too."""
        if self.simulate is not None:
            return not self.simulate
        if self.spatial_size or self.spacing or self.orientation:
            return False
        paths = [self.root] if self.root.is_file() else sorted(self.root.iterdir())
        kinds = (_holds_kspace(path) for path in paths if _is_hdf5(path))
        return next((kind for kind in kinds if kind is not None), True)


class FastMRIReader(ScanReader):
    """Reads the magnitudes of one file as [H, W, S].

    They are `reconstruction_esc` [S, H, W] (emulated single coil), else `reconstruction_rss`, else they come from
    `kspace`: |F^-1 k| for a single coil [S, H, W], the root of the sum of squares over coils for [S, C, H, W]. The
    layout does not say where in the patient they lie; the spacing is that of `ismrmrd_header`, where it has one.
    """

    def geometry(self, files: tuple[Path, ...]) -> Geometry:
        """Size of the images and mm between them.

        Raises:
            InputError: as :meth:`read`.
        """
        with reading(files[0]), h5py.File(files[0], "r") as file:
            name, data = _dataset(files[0], file)
            check_array(f"{files[0]}: {name}", data, name == "kspace")
            return _find_geometry(file, data)

    def read(self, data: Any, **kwargs: Any) -> tuple[np.ndarray, Geometry]:
        """Voxels float32 [H, W, S] of one file and the mm between them.

        Raises:
            InputError: not HDF5, cut short, without these arrays in the file itself, of other dimensions, or more than
                the file can hold.
        """
        path = data[0]
        with reading(path), h5py.File(path, "r", rdcc_nbytes=MOST_CHUNK) as file:
            name, stored = _dataset(path, file)
            is_kspace = name == "kspace"
            check_array(f"{path}: {name}", stored, is_kspace)
            images = np.empty((*stored.shape[-2:], len(stored)), np.float32)
            for index in range(len(stored)):
                images[..., index] = _magnitude(stored[index], is_kspace)
            return images, _find_geometry(file, stored)


def find_fastmri(settings: FastMRISettings) -> list[Scan]:
    """Scans of `<root>/*.h5`, one volume a file, of the subject that its header names."""
    files = choose_entries(list_entries(settings.root, _is_hdf5, "fastMRI files *.h5"), settings.include)
    reader = RawReader() if settings.is_raw() else FastMRIReader()
    return [Scan(path.stem, subject_of(path), ScanFile((path,), reader)) for path in files]


def _holds_kspace(path: Path) -> bool | None:
    """Whether a file holds the k-space that a scanner measured; None where it is damaged, which its reader tells."""
    try:
        with reading(path), h5py.File(path, "r") as file:
            return is_there(file, "kspace") or find_dataset(path, file) is not None
    except InputError:
        return None


def sniff_fastmri(folder: Path) -> bool:
    """A folder of HDF5 files with one of the arrays."""
    files = [path for path in sorted(folder.iterdir()) if _is_hdf5(path)]
    if not files or not h5py.is_hdf5(files[0]):
        return False
    with h5py.File(files[0], "r") as file:
        return any(name in file for name in (*IMAGES, "kspace"))


def write_fastmri_sample(folder: Path, rng: np.random.Generator) -> None:
    """Two files of four slices."""
    folder.mkdir(parents=True, exist_ok=True)
    space = "<matrixSize><x>20</x><y>18</y><z>1</z></matrixSize>"
    space += "<fieldOfView_mm><x>40</x><y>36</y><z>5</z></fieldOfView_mm>"
    header = f"<ismrmrdHeader><encoding><reconSpace>{space}</reconSpace></encoding></ismrmrdHeader>"
    for name in ("file1.h5", "file2.h5"):
        with h5py.File(folder / name, "w") as file:
            file["reconstruction_esc"] = rng.random((4, 20, 18), np.float32) + 1
            file[HEADER] = header


def _is_hdf5(path: Path) -> bool:
    return path.suffix == ".h5" and path.is_file()


def _find_geometry(file: h5py.File, data: h5py.Dataset) -> Geometry:
    height, width = data.shape[-2:]
    shape = (int(height), int(width), int(data.shape[0]))
    space = read_header(file).recon
    if space is None or space.field is None:
        return Geometry(shape)
    return Geometry(shape, None, (space.field[0] / shape[0], space.field[1] / shape[1], space.slice_distance))


def _dataset(path: Path, file: h5py.File) -> tuple[str, h5py.Dataset]:
    """The array to read and its name."""
    name = next((name for name in (*IMAGES, "kspace") if is_there(file, name)), None)
    if name is None:
        raise InputError(
            f"{path}: expected one of {', '.join(IMAGES)}, kspace, got {', '.join(islice(file, 8)) or 'nothing'}; "
            "give fastMRI training or validation files (the test sets hold no images)"
        )
    return name, own_child(path, file, name, h5py.Dataset)


def _magnitude(array: np.ndarray, is_kspace: bool) -> np.ndarray:
    """One slice's image [H, W] from an image [H, W] or from k-space [H, W] or [C, H, W]."""
    if not is_kspace:
        return array.astype(np.float32)
    image = ifft2c(torch.from_numpy(array.astype(np.complex64))).abs().numpy()
    return image if image.ndim == 2 else np.sqrt((image**2).sum(0))


FASTMRI = Format(
    "fastmri", (RECONSTRUCTION,), FastMRISettings, in_files(find_fastmri), sniff_fastmri, write_fastmri_sample
)
