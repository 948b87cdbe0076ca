# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Which acquisitions of an ISMRMRD file make up the scan, and where each line lies; all else is refused by name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flare_mri.errors import InputError
from flare_mri.io.raw.acquisitions import Acquisitions
from flare_mri.io.raw.header import Header


@dataclass(frozen=True)
class Lines:
    """The lines of one scan.

    Attributes:
        rows: numbers [n] of their acquisitions, rising.
        slices: their slices [n], from 0.
        columns: their places [n] along the phase encoding (W).
        width: number of such places.
        slices_found: `idx.slice` of the slices, rising.
        notes: what was done and left out.
    """

    rows: np.ndarray
    slices: np.ndarray
    columns: np.ndarray
    width: int
    slices_found: np.ndarray
    notes: tuple[str, ...]


def choose_lines(acquisitions: Acquisitions) -> Lines:
    """Chooses and places the lines.

    Raises:
        InputError: none, of an unknown or another trajectory than Cartesian, 3D, of several contrasts, phases, sets or
            repetitions, of different coils, or outside of the header's matrix.
    """
    path, header, heads = acquisitions.path, acquisitions.header, acquisitions.heads
    _check_header(path, header)
    notes = []
    chosen = acquisitions.images
    separate = acquisitions.flagged("PARALLEL_CALIBRATION") & chosen
    if separate.any() and header.calibration not in ("embedded", "interleaved"):
        chosen &= ~separate
        notes.append(f"{int(separate.sum())} lines for calibration left out, which were measured apart from the scan")
    rows = np.flatnonzero(chosen)
    if not rows.size:
        raise InputError(f"{path}: expected acquisitions of an image, got none among {len(heads)}; leave the file out")
    used = heads[rows]
    _check_acquisitions(path, used, acquisitions.flagged("REVERSE")[rows])
    width, columns = _place(path, header, used)
    found, slices = np.unique(used["idx"]["slice"], return_inverse=True)
    if header.slices is not None and len(found) > header.slices:
        raise InputError(
            f"{path}: expected at most the {header.slices} slices of the header's limits, got {len(found)}; export the "
            "scan again"
        )
    if (np.diff(found) != 1).any():
        missing = int(found[np.flatnonzero(np.diff(found) != 1)[0]]) + 1
        raise InputError(f"{path}: expected lines of every slice, got none of slice {missing}; export the whole scan")
    kept, joined = _join_repetitions(path, used, slices, columns, acquisitions, rows)
    rows, slices, columns = rows[kept], slices[kept], columns[kept]
    averages = len(np.unique(heads[rows]["idx"]["average"]))
    if averages > 1:
        notes.append(f"{averages} averages combined, line by line over what was measured")
    elif len(np.unique(slices.astype(np.int64) * width + columns)) < len(rows):
        notes.append("lines that were measured more than once were averaged")
    return Lines(rows, slices, columns, width, found, (*notes, *joined))


def _check_header(path: Path, header: Header) -> None:
    if header.trajectory != "cartesian":
        raise InputError(
            f"{path}: header: expected the trajectory 'cartesian', got {header.trajectory or 'none'!r}; reconstruct "
            "this scan with the scanner's own software"
        )
    if header.encoded is None:
        raise InputError(f"{path}: header: expected the matrix of the encoded space, got none; export the scan again")
    if header.encoded.matrix[2] > 1:
        raise InputError(
            f"{path}: header: expected 2D slices, got 3D k-space with {header.encoded.matrix[2]} partitions; transform "
            "it along the partitions and write them as slices"
        )


def _check_acquisitions(path: Path, heads: np.ndarray, reverse: np.ndarray) -> None:
    """One kind of lines only."""
    if (heads["encoding_space_ref"] != 0).any():
        raise InputError(f"{path}: expected one encoding space, got several; export each as a file of its own")
    if reverse.any():
        raise InputError(
            f"{path}: expected lines read in one direction, got {int(reverse.sum())} in reverse (EPI); correct them "
            "with the scanner's own software"
        )
    coils = np.unique(heads["active_channels"])
    if len(coils) > 1 or coils[0] < 1:
        raise InputError(
            f"{path}: expected lines of the same coils, got numbers of coils {', '.join(map(str, coils[:4].tolist()))};"
            " export the scan again"
        )
    if heads["idx"]["kspace_encode_step_2"].any():
        raise InputError(f"{path}: expected 2D slices, got lines of several partitions (3D); write them as slices")
    for name in ("contrast", "phase", "set"):
        number = len(np.unique(heads["idx"][name]))
        if number > 1:
            raise InputError(
                f"{path}: expected one {name}, got {number} (idx.{name}); export each as a file of its own"
            )


def _place(path: Path, header: Header, heads: np.ndarray) -> tuple[int, np.ndarray]:
    """Number of places along the phase encoding, and that of each line: the centre of the limits comes to W // 2."""
    assert header.encoded is not None
    width = header.encoded.matrix[1]
    steps = heads["idx"]["kspace_encode_step_1"].astype(np.int64)
    columns = steps - (width // 2 if header.centre is None else header.centre) + width // 2
    outside = (columns < 0) | (columns >= width)
    if outside.any():
        raise InputError(
            f"{path}: expected lines within the {width} of the header's matrix, got idx.kspace_encode_step_1 "
            f"{int(steps[outside][0])} with the centre at {header.centre}; export the scan again"
        )
    return width, columns


def _join_repetitions(
    path: Path, heads: np.ndarray, slices: np.ndarray, columns: np.ndarray, acquisitions: Acquisitions, rows: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The lines to use where there are several repetitions: those of one k-space, interleaved in time.

    Every repetition of such a scan measures other lines, apart from those for calibration, of which the last
    repetition's are used, so that the noise is the same in every line.

    Returns:
        Numbers of the lines to use, and notes.

    Raises:
        InputError: the same lines were measured over and over: a series in time.
    """
    repetition = heads["idx"]["repetition"].astype(np.int64)
    number = len(np.unique(repetition))
    if number == 1:
        return np.arange(len(heads)), ()
    lines = np.stack([slices, columns], 1)
    calibration = acquisitions.flagged("PARALLEL_CALIBRATION", "PARALLEL_CALIBRATION_AND_IMAGING")[rows]
    places, inverse = np.unique(lines, axis=0, return_inverse=True)
    last = np.zeros(len(places), np.int64)
    np.maximum.at(last, inverse.ravel(), repetition)
    kept = repetition == last[inverse.ravel()]
    if (~kept & ~calibration).any():
        raise InputError(
            f"{path}: expected one repetition, got {number} (idx.repetition) that measure the same lines; export each "
            "as a file of its own"
        )
    return np.flatnonzero(kept), (f"{number} repetitions joined, which measured different lines",)
