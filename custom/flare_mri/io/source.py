# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a reader finds: volumes that are there but not read yet."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from flare_mri.errors import InputError
from flare_mri.files import reading

_UNDERSHOOT = 0.01  # interpolation may leave values this far below 0, in parts of the maximum


@dataclass(frozen=True)
class Source:
    """One volume, not read yet.

    Attributes:
        name: unique within the site.
        subject: volumes of one subject are never divided between training and test by a split by volume.
        files: what the volume is read from; a change of any of them makes the cached copy stale.
        read: reads all files once and returns the chosen slices, [S, H, W] magnitudes of any real dtype.
    """

    name: str
    subject: str
    files: tuple[Path, ...]
    read: Callable[[], np.ndarray]


def listed(folder: Path, keep: Callable[[Path], bool], what: str) -> list[Path]:
    """Returns the folder's visible entries that `keep` accepts, sorted by name.

    Raises:
        InputError: there is none, or the folder cannot be read.
    """
    with reading(folder, "mount the data or correct data.root"):
        found = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and keep(path))
    if not found:
        raise InputError(f"data.root: {folder}: expected {what}, got none; correct data.root or copy the data there")
    return found


def chosen(paths: list[Path], patterns: tuple[str, ...]) -> list[Path]:
    """Returns the paths whose name matches one of the patterns of `data.contrasts`, all where there are none.

    Raises:
        InputError: a pattern matches nothing.
    """
    for pattern in patterns:
        if not any(fnmatch(path.name, pattern) for path in paths):
            raise InputError(
                f"data.contrasts: {pattern!r}: expected to match a name in {paths[0].parent}, got no match among "
                f"{len(paths)} such as {paths[0].name!r}; correct the pattern (* stands for any text)"
            )
    return [path for path in paths if not patterns or any(fnmatch(path.name, pattern) for pattern in patterns)]


def magnitudes(volume: np.ndarray, source: Source) -> np.ndarray:
    """Checks what a reader returned.

    Args:
        volume: real [S, H, W]. Undershoots of interpolation, down to -1 % of the maximum, become 0.
        source: names the volume in messages.

    Returns:
        float32 [S, H, W], finite, >= 0, not all 0.

    Raises:
        InputError: NaN, infinite or negative values, an empty volume, or nothing but zeros.
    """
    where = source.files[0] if source.files else source.name
    if volume.ndim != 3 or not volume.size:
        raise InputError(
            f"{where}: expected slices [S, H, W], got shape {list(volume.shape)}; correct data.slices or the file"
        )
    volume = np.asarray(volume, np.float32)
    bad = ~np.isfinite(volume)
    if bad.any():
        raise InputError(
            f"{where}: expected finite values, got {int(bad.sum())} NaN or infinite (first in slice "
            f"{int(np.argmax(bad.any((1, 2))))} of those taken); export the volume again or leave it out"
        )
    low, high = float(volume.min()), float(volume.max())
    if high <= 0:
        raise InputError(f"{where}: expected an image, got no value above 0; correct data.slices or leave it out")
    if low < -_UNDERSHOOT * high:
        raise InputError(f"{where}: expected magnitudes >= 0, got {low:g}; give images that are not normalised")
    return volume.clip(0, None)
