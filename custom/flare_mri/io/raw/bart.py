# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""BART's pairs of files: `.hdr`, a text with sizes, and `.cfl`, little-endian complex64 with the first axis fastest.

Axes are those of BART's `misc/mri.h`: readout, two phase encodings, coils, ..., 13 the slices. k-space is centred, as
`bart fft -u` makes it and scans in BART's tutorials have it; the scale stays. The layout states no geometry.
"""

import math
from pathlib import Path

import numpy as np

from flare_mri.errors import InputError
from flare_mri.files import read_bytes, reading
from flare_mri.io.raw.build import build_scan
from flare_mri.io.raw.checks import check_finite, check_size
from flare_mri.io.raw.sampling import mask_of_zeros
from flare_mri.io.raw.scan import RawScan

_MOST_HEADER = 2**16  # bytes
_COILS, _SLICES = 3, 13
_NAMES = {
    4: "maps",
    5: "echo times",
    6: "coefficients",
    7: "coefficients",
    8: "iterations",
    9: "cycles",
    10: "times",
    11: "times",
    12: "levels",
    14: "averages",
    15: "batches",
}


def read_bart(path: Path) -> RawScan:
    """Reads one scan of 2D slices; what is 0 in all coils was not measured.

    Of readout and phase encodings one has a single sample; the first of the others becomes H, the second W.

    Args:
        path: `.cfl` or `.hdr`, the other lies beside it.

    Raises:
        InputError: one of the files is missing or damaged, they do not fit each other, 3D k-space, several echoes,
            times or averages, values that are not finite, k-space that is not centred.
    """
    values, header = path.with_suffix(".cfl"), path.with_suffix(".hdr")
    with reading(values):
        sizes = _read_sizes(header)
        plane = [axis for axis in range(3) if sizes[axis] > 1]
        if len(plane) != 2:
            raise InputError(
                f"{header}: expected 2D k-space, one of the first three sizes 1, got {_shown(sizes[:3])}; transform 3D "
                "k-space along one axis (bart fft -i) and put it at axis 13 (bart transpose)"
            )
        for axis, size in enumerate(sizes):
            if size > 1 and axis not in (*plane, _COILS, _SLICES):
                raise InputError(
                    f"{header}: expected size 1 on axis {axis} ({_NAMES.get(axis, 'unknown')}), got {size}; write each "
                    "as a file of its own (bart slice)"
                )
        height, width = (sizes[axis] for axis in plane)
        check_size(header, sizes[_SLICES], sizes[_COILS], height, width)
        kspace = _read_values(values, (height, width, sizes[_COILS], sizes[_SLICES]))
        check_finite(values, kspace)
        return build_scan(values, kspace, mask_of_zeros(kspace))


def _read_sizes(header: Path) -> list[int]:
    """Sizes of 16 axes or more."""
    fix = "copy both files, .hdr and .cfl, again"
    text = read_bytes(header, _MOST_HEADER, fix).decode("latin1")
    lines = text.splitlines()
    start = next((index for index, line in enumerate(lines) if line.strip() == "# Dimensions"), None)
    words = lines[start + 1].split() if start is not None and start + 1 < len(lines) else []
    if not 1 <= len(words) <= 64 or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        raise InputError(f"{header}: expected a line of sizes after '# Dimensions', got {text[:40]!r}; {fix}")
    return [int(word) for word in words] + [1] * (16 - len(words))


def _read_values(path: Path, shape: tuple[int, int, int, int]) -> np.ndarray:
    """k-space, complex64 [S, C, H, W], of a file that holds exactly that."""
    fix = "copy both files, .hdr and .cfl, again"
    if not path.is_file():
        raise InputError(f"{path}: no such file beside its .hdr; {fix}")
    wanted, size = 8 * math.prod(shape), path.stat().st_size
    if size != wanted:
        raise InputError(
            f"{path}: expected {wanted} bytes for the sizes {_shown(shape)} of its .hdr, got {size}; {fix}"
        )
    stored = np.fromfile(path, "<c8", math.prod(shape)).reshape(shape, order="F")
    return np.ascontiguousarray(stored.transpose(3, 2, 0, 1), np.complex64)


def _shown(sizes: list[int] | tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
