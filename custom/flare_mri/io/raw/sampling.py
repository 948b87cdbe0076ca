# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What of k-space was measured: from zeros, from a mask in the file, and whether the two agree."""

from pathlib import Path

import numpy as np

from flare_mri.errors import InputError

SIDES = 1 / 16
"""Of an axis: by so much may the zeros on one side exceed those on the other in a full scan."""

_LEAST = 0.5  # of an axis that a full scan measures
_LINE = 0.95  # of a line's samples that are not 0: the line was measured
_CONTRADICTIONS = 0.01  # of the samples that a mask calls measured may be 0 in all coils by chance


def is_complete(mask: np.ndarray) -> bool:
    """Whether a mask [H, W] is one block about zero frequency, at least half of each axis, cut alike on both sides.

    Partial Fourier is no such block: a large part is missing on one side only.
    """
    inside = []
    for axis, size in enumerate(mask.shape):
        measured = np.flatnonzero(mask.any(1 - axis))
        if not measured.size:
            return False
        before, after = int(measured[0]), size - 1 - int(measured[-1])
        if abs(before - after) > max(1, SIDES * size) or before + after > (1 - _LEAST) * size:
            return False
        inside.append(slice(before, size - after))
    return bool(mask[tuple(inside)].all())


def shape_mask(where: str, stored: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A stored mask as bool [S, H, W]: [W], [H, W], [S, H, W] or [S, 1, H, W], each axis full or 1.

    Raises:
        InputError: another shape, or values other than 0 and 1.
    """
    mask = np.asarray(stored)
    if not np.isin(mask, (0, 1)).all():
        raise InputError(f"{where}: expected 0 and 1, got other values; write 1 where k-space was measured")
    full = mask.astype(bool)
    if full.ndim == 4 and full.shape[1] == 1:
        full = full[:, 0]
    try:
        return np.broadcast_to(full, shape) if full.ndim <= 3 else np.broadcast_to(full, (0,))
    except ValueError:
        raise InputError(
            f"{where}: expected [W], [H, W] or [S, 1, H, W] of k-space with [S, H, W] = {list(shape)}, got "
            f"{list(mask.shape)}; write the mask of this scan"
        ) from None


def mask_of_zeros(kspace: np.ndarray) -> np.ndarray:
    """Where k-space [S, C, H, W] is not 0 in all coils: bool [S, H, W].

    Single zeros in a line along H that was measured, and slices of nothing but zeros, stand for no missing samples:
    the line counts as a whole, and the slice as the others.
    """
    found = nonzero(kspace)
    found[~found.any((1, 2))] = found.any(0)
    rows = np.flatnonzero(found.any((0, 2)))
    if rows.size:
        inside = found[:, rows[0] : rows[-1] + 1]
        inside |= (inside.mean(1) > _LINE)[:, None]
    return share_mask(found)


def nonzero(kspace: np.ndarray) -> np.ndarray:
    """Where k-space [S, C, H, W] is not 0 in at least one coil: bool [S, H, W]."""
    return np.stack([(coils != 0).any(0) for coils in kspace])


def share_mask(mask: np.ndarray) -> np.ndarray:
    """The mask as a view of one slice's, where all slices have the same."""
    return np.broadcast_to(mask[0], mask.shape) if (mask == mask[0]).all() else np.ascontiguousarray(mask)


def check_mask(path: Path, kspace: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Holds a file's mask [S, H, W] against its k-space [S, C, H, W].

    Outer lines that the mask calls measured and that are 0 in all coils and slices are the zeros with which a scanner
    fills up k-space: they are taken out of the mask.

    Returns:
        The mask and notes.

    Raises:
        InputError: k-space is not 0 where nothing was measured, or is 0 where it was.
    """
    found = nonzero(kspace)
    beyond = int((found & ~mask).sum())
    if beyond:
        raise InputError(
            f"{path}: mask: expected k-space to be 0 where it was not measured, got {beyond} samples that are not; "
            "write the mask of this scan, or leave it out"
        )
    filled = np.ones(mask.shape[1:], bool)
    for axis in (0, 1):
        measured = np.flatnonzero(found.any((0, 2 - axis)))
        outside = np.ones(mask.shape[1 + axis], bool)
        if measured.size:
            outside[measured[0] : measured[-1] + 1] = False
        filled[(slice(None),) * axis + (outside,)] = False
    kept = mask & filled
    empty = int((kept & ~found).sum())
    if empty > _CONTRADICTIONS * kept.sum():
        raise InputError(
            f"{path}: mask: expected k-space other than 0 where it was measured, got {empty} of {int(kept.sum())} "
            "samples that are 0 in all coils; write the mask of this scan, or leave it out"
        )
    lost = int(mask[0].sum() - kept[0].sum())
    return share_mask(kept), (
        f"{lost} outer samples of the mask are 0 in k-space: taken as not measured",
    ) if lost else ()
