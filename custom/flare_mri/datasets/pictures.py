# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A slice of each scan to look at: upright as radiologists see it where the file says how, in square pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from PIL import Image

from flare_mri.config.data import DataSettings
from flare_mri.config.segmentation import IGNORED

if TYPE_CHECKING:  # a page of results is made without PyTorch
    from monai.data import MetaTensor

_LONGEST = 320  # pixels of a picture
_EDGES = ("APHF", "RLHF", "RLAP")  # of upright slices along the axes of LPS; head and feet as DICOM has them


class SlicePlace(NamedTuple):
    """How the slices [H, W] of a volume lie: axis codes of its rows, its columns and from slice to slice, as `PLS`,
    empty where not known; and mm from row to row and from column to column."""

    axcodes: str = ""
    spacing: tuple[float, float] = (1.0, 1.0)


class Picture(NamedTuple):
    """A slice: its number among so many, counted from 1, from the right, front or feet where it is known how the scan
    lies; the image float32 [H, W], whole numbers of organs [H, W] or None; and one letter each of what of the patient
    is at the left, right, upper and lower border, empty where not known."""

    number: int
    total: int
    image: np.ndarray
    label: np.ndarray | None
    edges: str = ""


def take_picture(image: MetaTensor, label: MetaTensor | None, data: DataSettings) -> Picture:
    """The middle slice of a scan, of one with a label the middle one of those that hold an organ.

    Args:
        image: [I, J, K] as stored.
        label: numbers of organs [I, J, K], or None.
        data: settings of the site, which say along which axis slices are taken.
    """
    known = image.meta["affine_known"]
    affine = np.asarray(image.affine, np.float64)
    parts = [image.numpy()] if label is None else [image.numpy(), label.numpy() % IGNORED]
    axis, spacing = data.find_slice_axis(), np.linalg.norm(affine[:3, :3], axis=0)
    if known:
        axis, spacing, parts = _turn(parts, affine, data.orientation, axis)
    slices = [np.moveaxis(part, axis, 0) for part in parts]
    number = len(slices[0]) // 2
    if label is not None and slices[1].any():
        marked = np.flatnonzero(slices[1].any((1, 2)))
        number = int(marked[len(marked) // 2])
    chosen = [part[number] for part in slices]
    down, across = (step for at, step in enumerate(spacing) if at != axis)
    if known:
        chosen, (down, across) = [_upright(part, axis) for part in chosen], (across, down)
    image_2d, *labels = (_square(part, down, across, at > 0) for at, part in enumerate(chosen))
    edges = _EDGES[axis] if known else ""
    return Picture(number + 1, len(slices[0]), image_2d, labels[0] if labels else None, edges)


def upright_slice(part: np.ndarray, affine: np.ndarray, axis: int, longest: int = _LONGEST) -> np.ndarray:
    """One slice of a volume as :func:`take_picture` shows it where the file says how the patient lies.

    Args:
        part: [H, W] of the volume [I, J, K], without its axis of slices; whole numbers are of organs, and never mixed.
        affine: [4, 4] from the volume's voxels to mm, RAS.
        axis: of the slices, 0 to 2.
        longest: pixels of a side that are left.

    Returns:
        float32 or, of organs, uint8 [H, W].
    """
    place, spacing, (turned,) = _turn([np.expand_dims(part, axis)], np.asarray(affine, np.float64), None, axis)
    across, down = (step for at, step in enumerate(spacing) if at != place)
    whole_numbers = np.issubdtype(part.dtype, np.integer)
    return _square(_upright(turned.take(0, place), place), down, across, whole_numbers, longest)


def show_slice(part: np.ndarray, place: SlicePlace, longest: int = _LONGEST) -> np.ndarray:
    """One slice [H, W] as :func:`upright_slice` turns it, of a volume of which only this is known; with square pixels
    alone where it is not known how the patient lies.

    Args:
        part: whole numbers are of organs, and never mixed.
        place: of the slice.
        longest: pixels of a side that are left.

    Returns:
        float32 or, of organs, uint8 [H, W].
    """
    if not place.axcodes:
        return _square(part, *place.spacing, np.issubdtype(part.dtype, np.integer), longest)
    affine = np.eye(4)
    lies_along = axcodes2ornt(tuple(place.axcodes))
    for stored, ((axis, way), step) in enumerate(zip(lies_along, (*place.spacing, 1.0), strict=True)):
        affine[:3, stored] = 0
        affine[int(axis), stored] = way * step
    return upright_slice(part, affine, 2, longest)


def _turn(
    parts: list[np.ndarray], affine: np.ndarray, codes: str | None, axis: int
) -> tuple[int, np.ndarray, list[np.ndarray]]:
    """Volumes turned to LPS, and the axis of the slices and mm along the axes then; `axis` is of volumes of `codes`."""
    stored = io_orientation(affine)
    moved = stored[:, 0].astype(int)  # the axis of RAS, and of LPS, that each stored axis lies along
    place = int(moved[axis] if codes is None else axcodes2ornt(tuple(codes))[axis, 0])
    turn = ornt_transform(stored, axcodes2ornt(("L", "P", "S")))
    spacing = np.empty(3)
    spacing[moved] = np.linalg.norm(affine[:3, :3], axis=0)
    return place, spacing, [apply_orientation(part, turn) for part in parts]


def _upright(part: np.ndarray, axis: int) -> np.ndarray:
    """A slice [first, second] of LPS as it is looked at: rows downwards, the patient's right or front on the left."""
    across_first = part.T
    return across_first if axis == 2 else across_first[::-1]  # the head is up


def _square(part: np.ndarray, down: float, across: float, nearest: bool, longest: int = _LONGEST) -> np.ndarray:
    """A slice [H, W] with square pixels, at most `longest` of them a side."""
    height, width = part.shape[0] * down, part.shape[1] * across
    scale = min(longest / max(height, width), 1 / min(down, across))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    way = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    resized = np.asarray(Image.fromarray(np.ascontiguousarray(part, np.float32)).resize(size[::-1], way))
    return resized.astype(np.uint8) if nearest else resized
