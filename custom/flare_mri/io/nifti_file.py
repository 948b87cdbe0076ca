# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""NIfTI files by their header first, so that a header cannot ask for more than the file holds."""

import gzip
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from flare_mri.errors import InputError
from flare_mri.files import check_volume, reading
from flare_mri.io.scan import Geometry, ScanReader, is_usable_affine

_HEADERS = {348: Nifti1Header, 540: Nifti2Header}  # by their first number, the header's size in bytes
_SINGLE = (b"n+1", b"n+2")
_LAST_START = 2**24  # where voxels begin at the latest: extensions may precede them, but not megabytes of them
NIFTI_NAME = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True)
class NiftiFile:
    """A checked header and the file it came from.

    Attributes:
        path: the file.
        header: shape, type, scaling and place of the voxels.
    """

    path: Path
    header: Nifti1Header

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored."""
        return tuple(int(size) for size in self.header.get_data_shape())

    @property
    def zooms(self) -> list[float]:
        """mm between voxels along each axis."""
        return [float(zoom) for zoom in self.header.get_zooms()]

    def read(self) -> np.ndarray:
        """Reads the voxels, the header's slope and intercept applied.

        Raises:
            InputError: cut short, or a gzip file whose checksum does not match.
        """
        with reading(self.path):
            if not _is_packed(self.path):
                return np.asanyarray(ArrayProxy(self.path, self.header))
            with gzip.open(self.path) as file:
                volume = np.asanyarray(ArrayProxy(file, self.header))
                file.read(1)  # at the end gzip compares the checksum, which nibabel never reaches
                return volume


def open_nifti(path: Path, axes: tuple[int, ...], fix: str = "store one volume a file") -> NiftiFile:
    """Reads and checks the header. Extensions are skipped: they are of no use here and have sizes of their own.

    Args:
        path: `.nii` or `.nii.gz`, NIfTI-1 or -2 in one file.
        axes: how many axes are allowed.
        fix: what to do about others.

    Raises:
        InputError: another format, an axis too many or too few, not real numbers, or voxels that the file cannot hold.
    """
    if not NIFTI_NAME.search(path.name):
        raise InputError(f"{path}: expected a NIfTI file named *.nii or *.nii.gz, got another name; convert it")
    with reading(path):
        size = path.stat().st_size
        with gzip.open(path) if _is_packed(path) else path.open("rb") as file:
            header = _parse(path, file.read(max(_HEADERS)))
        image = NiftiFile(path, header)
        kind, start = header.get_data_dtype(), header.get_data_offset()
        if len(image.shape) not in axes or kind.kind not in "iuf":
            what = " or ".join(f"a {count}D volume" for count in axes)
            raise InputError(f"{path}: expected {what} of real numbers, got shape {list(image.shape)} of {kind}; {fix}")
        if not header.single_vox_offset <= start <= _LAST_START:
            raise InputError(
                f"{path}: expected voxels to begin at byte {header.single_vox_offset} to {_LAST_START}, got {start}; "
                "export the file again without extensions"
            )
        packed = _is_packed(path)
        check_volume(path, image.shape, kind.itemsize, size if packed else size - start, packed)
    return image


def _parse(path: Path, content: bytes) -> Nifti1Header:
    sizes = {int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big")} & set(_HEADERS)
    if not sizes:
        raise InputError(f"{path}: expected a NIfTI file, got another format; convert it or take it out")
    size = sizes.pop()
    header = _HEADERS[size].from_fileobj(BytesIO(content[:size]))
    if header["magic"].item() not in _SINGLE:
        raise InputError(f"{path}: expected a NIfTI file with header and voxels in one, got a header; convert it")
    return header


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


class NiftiReader(ScanReader):
    """Reads 3D NIfTI files in the order in which they are stored, slope and intercept applied."""

    def open(self, path: Path) -> NiftiFile:
        """Checks the header.

        Raises:
            InputError: no 3D NIfTI file.
        """
        return open_nifti(path, axes=(3,))

    def geometry(self, files: tuple[Path, ...]) -> Geometry:
        """Shape and affine of the header.

        Raises:
            InputError: no 3D NIfTI file, or voxel sizes that are not above 0 mm.
        """
        image = self.open(files[0])
        zooms = image.zooms[:3]
        if not all(np.isfinite(zoom) and zoom > 0 for zoom in zooms):
            raise InputError(f"{files[0]}: expected voxel sizes above 0 mm, got {zooms}; correct the header")
        with reading(files[0], "correct the header"):
            affine = np.asarray(image.header.get_best_affine(), np.float64)
        if not is_usable_affine(affine):
            raise InputError(
                f"{files[0]}: expected an affine that leads to a place in mm, got {affine[:3].tolist()}; correct the "
                "header"
            )
        rows, columns, slices = image.shape[:3]
        return Geometry((rows, columns, slices), affine, (zooms[0], zooms[1], zooms[2]))

    def read(self, data: Any, **kwargs: Any) -> tuple[np.ndarray, Geometry]:
        """Voxels [I, J, K] of one file and where they lie.

        Raises:
            InputError: as :meth:`geometry`; a file that is cut short or damaged.
        """
        return self.open(data[0]).read(), self.geometry(data)


class ChannelReader(NiftiReader):
    """As :class:`NiftiReader`, of files that may hold several images of one place, [I, J, K, channels].

    Args:
        channel: number of the image to take, from 0; None: files hold one.
    """

    def __init__(self, channel: int | None):
        super().__init__()
        self._channel = channel

    def open(self, path: Path) -> NiftiFile:
        """Checks the header.

        Raises:
            InputError: other axes than the channel asks for, or a channel that the file has not.
        """
        channel = self._channel
        fix = "set data.channel to the number of one of its images, from 0, or leave it out for files of one"
        image = open_nifti(path, (3 if channel is None else 4,), fix)
        if channel is not None and channel >= image.shape[3]:
            raise InputError(
                f"{path}: expected a channel {channel}, got {image.shape[3]} of shape {list(image.shape)}; set "
                f"data.channel to 0 to {image.shape[3] - 1}"
            )
        return image

    def read(self, data: Any, **kwargs: Any) -> tuple[np.ndarray, Geometry]:
        """Voxels [I, J, K] of the chosen image and where they lie.

        Raises:
            InputError: as :meth:`open`; a file that is cut short or damaged.
        """
        voxels, geometry = super().read(data, **kwargs)
        return voxels if self._channel is None else voxels[..., self._channel], geometry


def strip_ending(name: str) -> str:
    """A file's name without `.nii` or `.nii.gz`."""
    return NIFTI_NAME.sub("", name)


def write_nifti(path: Path, voxels: np.ndarray) -> None:
    """A small NIfTI file of identity affine, for samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
