# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Volumes of one file a slice: PNG images, or NIfTI files of two axes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flare_mri.errors import InputError
from flare_mri.files import DEFLATE_RATIO, MOST_SLICE_VALUES, check_volume, reading
from flare_mri.io.nifti_file import open_nifti
from flare_mri.io.scan import Geometry, ScanReader


@dataclass(frozen=True)
class StackReader(ScanReader):
    """Reads one file a slice, in order; nothing is known of where they lie.

    Attributes:
        slice_axis: the axis of the volume along which the slices lie.
    """

    slice_axis: int = 2

    def geometry(self, files: tuple[Path, ...]) -> Geometry:
        """The size of the first slice, and how many there are.

        Raises:
            InputError: a file that holds no slice.
        """
        shape = list(_read_slice(files[0]).shape)
        shape.insert(self.slice_axis, len(files))
        return Geometry((shape[0], shape[1], shape[2]))

    def read(self, data: Any, **kwargs: Any) -> tuple[np.ndarray, Geometry]:
        """Voxels [H, W, S] where the slices lie along the last axis.

        Raises:
            InputError: a file that holds no slice, or slices of different sizes.
        """
        voxels = np.moveaxis(_read_stack(data), 0, self.slice_axis)
        return voxels, Geometry((voxels.shape[0], voxels.shape[1], voxels.shape[2]))


def is_slice(path: Path) -> bool:
    """Whether the file holds one slice: a PNG, or a NIfTI file of two axes."""
    return path.suffix.lower() == ".png" or len(open_nifti(path, axes=(2, 3)).shape) == 2


def _read_stack(paths: tuple[Path, ...]) -> np.ndarray:
    slices: list[np.ndarray] = []
    for path in paths:
        image = _read_slice(path)
        first = slices[0] if slices else image
        if image.shape != first.shape:
            raise InputError(
                f"{path}: expected {list(first.shape)} as in {paths[0].name}, got {list(image.shape)}; "
                "the slices of one volume must have one size"
            )
        if not slices:
            shape, size = (len(paths), *image.shape), len(paths) * image.nbytes
            check_volume(path.parent, shape, image.itemsize, size)
        slices.append(image)
    return np.stack(slices)


def _read_slice(path: Path) -> np.ndarray:
    """Reads a PNG of grey values as rows and columns, a NIfTI file in its own order of axes."""
    image = _read_png(path) if path.suffix.lower() == ".png" else open_nifti(path, axes=(2,)).read()
    if image.ndim != 2 or image.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: expected one slice of grey values [H, W], got shape {list(image.shape)} of {image.dtype}; "
            "store grey values, one slice a file"
        )
    return image


def _read_png(path: Path) -> np.ndarray:
    with reading(path), Image.open(path, formats=["PNG"]) as file:  # formats: never another decoder than the name says
        width, height = file.size
        most = min(MOST_SLICE_VALUES, 8 * DEFLATE_RATIO * path.stat().st_size)  # a pixel has one bit at least
        if width * height > most:
            raise InputError(
                f"{path}: expected at most {most} pixels in a file of this size, got {width}x{height}; leave it out"
            )
        return np.asarray(file)
