# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Volumes with their labels, found but not read yet, and how their files are read."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from PIL import Image

from flare_mri.data.readers_nifti import read_nifti
from flare_mri.data.site_config import DataSettings
from flare_mri.data.source import reading
from flare_mri.errors import InputError

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
    return path.suffix.lower() == ".png" or len(_header(path).shape) == 2


def _header(path: Path) -> nibabel.Nifti1Image:
    try:
        with reading(path):
            return nibabel.load(path)  # type: ignore[return-value]
    except ImageFileError as error:
        raise InputError(f"{path}: expected a NIfTI or PNG file, got: {error}; convert it") from error


def _volume_geometry(path: Path, axis: int) -> Geometry:
    image = _header(path)
    order = [axis, *(other for other in range(3) if other != axis)]
    zooms = [float(zoom) for zoom in image.header.get_zooms()]
    if len(image.shape) != 3 or not all(np.isfinite(zoom) and zoom > 0 for zoom in zooms):
        raise InputError(
            f"{path}: expected three axes with voxel sizes above 0 mm, got shape {list(image.shape)}, sizes {zooms}; "
            "correct the header, or store one volume a file"
        )
    slices, rows, columns = order
    spacing = (zooms[slices], zooms[rows], zooms[columns])
    return (image.shape[slices], image.shape[rows], image.shape[columns]), spacing


def _stack_geometry(paths: tuple[Path, ...]) -> Geometry:
    height, width = _read_slice(paths[0]).shape
    return (len(paths), height, width), (1.0, 1.0, 1.0)


def _read_stack(paths: tuple[Path, ...]) -> np.ndarray:
    slices = [_read_slice(path) for path in paths]
    for path, image in zip(paths, slices, strict=True):
        if image.shape != slices[0].shape:
            raise InputError(
                f"{path}: expected {list(slices[0].shape)} as in {paths[0].name}, got {list(image.shape)}; "
                "the slices of one volume must have one size"
            )
    return np.stack(slices)


def _read_slice(path: Path) -> np.ndarray:
    """Reads a PNG of grey values as rows and columns, a NIfTI file in its own order of axes."""
    with reading(path):
        if path.suffix.lower() == ".png":
            with Image.open(path) as file:
                image = np.asarray(file)
        else:
            image = np.asanyarray(_header(path).dataobj)
    if image.ndim != 2 or image.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: expected one slice of grey values [H, W], got shape {list(image.shape)} of {image.dtype}; "
            "store grey values, one slice a file"
        )
    return image
