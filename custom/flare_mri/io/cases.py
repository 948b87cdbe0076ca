# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Volumes with their labels, found but not read yet, and how their files are read."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from flare_mri.config.site import DataSettings
from flare_mri.errors import InputError
from flare_mri.files import DEFLATE_RATIO, MOST_SLICE_VALUES, check_volume, reading
from flare_mri.io.nifti_file import open_nifti
from flare_mri.io.readers_nifti import read_nifti

Geometry = tuple[tuple[int, int, int], tuple[float, float, float]]


@dataclass(frozen=True)
class Case:
    """One volume and, unless the site has none, its label.

    Attributes:
        name: unique within the site.
        section: `train`, `validation` or `test` where a list says so, else empty.
        files: what it is read from, the image's first; none for the phantom.
        geometry: returns (S, H, W) and the distances in mm along these axes, without reading the image.
        image: reads the image, real [S, H, W].
        label: reads the label, real [S, H, W]; None where there is no label.
        axis: the slice axis in the files.
    """

    name: str
    section: str
    files: tuple[Path, ...]
    geometry: Callable[[], Geometry]
    image: Callable[[], np.ndarray]
    label: Callable[[], np.ndarray] | None
    axis: int = 0

    @property
    def origin(self) -> str:
        """What messages call it."""
        return str(self.files[0]) if self.files else self.name


def volume_case(name: str, section: str, image: Path, label: Path | None, settings: DataSettings) -> Case:
    """A case of one 3D NIfTI file and one for its label."""
    whole = DataSettings(settings.format, slice_axis=settings.slice_axis)
    return Case(
        name,
        section,
        (image,) if label is None else (image, label),
        partial(_volume_geometry, image, settings.slice_axis),
        partial(read_nifti, image, whole),
        None if label is None else partial(read_nifti, label, whole),
        settings.slice_axis,
    )


def stack_case(name: str, section: str, images: tuple[Path, ...], labels: tuple[Path, ...]) -> Case:
    """A case of one file a slice, in order, and as many of labels or none; nothing is known of its spacing."""
    read_labels = partial(_read_stack, labels) if labels else None
    return Case(
        name, section, images + labels, partial(_stack_geometry, images), partial(_read_stack, images), read_labels
    )


def is_slice(path: Path) -> bool:
    """Whether the file holds one slice: a PNG, or a NIfTI file of two axes."""
    return path.suffix.lower() == ".png" or len(open_nifti(path, axes=(2, 3)).shape) == 2


def _volume_geometry(path: Path, axis: int) -> Geometry:
    image = open_nifti(path, axes=(3,))
    order = [axis, *(other for other in range(3) if other != axis)]
    zooms = image.zooms
    if not all(np.isfinite(zoom) and zoom > 0 for zoom in zooms):
        raise InputError(f"{path}: expected voxel sizes above 0 mm, got {zooms}; correct the header")
    slices, rows, columns = order
    spacing = (zooms[slices], zooms[rows], zooms[columns])
    return (image.shape[slices], image.shape[rows], image.shape[columns]), spacing


def _stack_geometry(paths: tuple[Path, ...]) -> Geometry:
    height, width = _read_slice(paths[0]).shape
    return (len(paths), height, width), (1.0, 1.0, 1.0)


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
