# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""ISMRMRD files: Cartesian 2D multi-slice scans, as converters of all vendors' raw data write them.

Inati et al., "ISMRM Raw data format: A proposed standard for MRI raw datasets", MRM 2017.
"""

import math
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch

from flare_mri.errors import InputError
from flare_mri.files import reading
from flare_mri.io.hdf5 import MOST_CHUNK
from flare_mri.io.raw.acquisitions import Acquisitions, open_acquisitions
from flare_mri.io.raw.build import build_scan
from flare_mri.io.raw.checks import check_finite, check_size
from flare_mri.io.raw.lines import Lines, choose_lines
from flare_mri.io.raw.place import place_slices
from flare_mri.io.raw.readout import Readout, crop_readout, find_readout
from flare_mri.io.raw.scan import RawScan
from flare_mri.physics.prewhitening import noise_covariance, prewhiten, whitening_matrix

_MOST_EXPANSION = 64  # of the samples in the file, for the zeros between them


def read_ismrmrd(path: Path, prewhiten: bool = True) -> RawScan:
    """Reads one scan.

    Lines are put where `idx.kspace_encode_step_1` and the centre of the encoding limits say, slices in the order of
    `idx.slice`, zeros where nothing was measured. Readout oversampling is removed in image space. Averages are averaged
    over what was measured, line by line.

    Args:
        path: the file.
        prewhiten: whether the coils' noise is made white where the file has a noise acquisition.

    Raises:
        InputError: cut short or damaged, header and data that disagree, not Cartesian, 3D, several contrasts, phases,
            sets or repetitions, noise of other coils, values that are not finite, k-space that is not centred.
    """
    with reading(path), h5py.File(path, "r", rdcc_nbytes=MOST_CHUNK) as file:
        acquisitions = open_acquisitions(path, file)
        lines = choose_lines(acquisitions)
        readout = find_readout(path, acquisitions.header, acquisitions.heads[lines.rows])
        _check_amount(acquisitions, lines, readout)
        kspace, mask = _fill(acquisitions, lines, readout)
        notes = [*lines.notes, *readout.notes]
        noise = np.flatnonzero(acquisitions.flagged("NOISE_MEASUREMENT")) if prewhiten else np.empty(0, int)
        if noise.size:
            kspace = _whiten(path, kspace, _read_noise(acquisitions, noise, lines))
            notes.append("prewhitened with the noise acquisition")
        heads = acquisitions.heads[lines.rows]
        place = place_slices(acquisitions.header, heads, lines.slices, kspace.shape)
        scan = build_scan(path, kspace, mask, (*notes, *place.notes))
    return replace(
        scan,
        geometry=place.geometry,
        field_of_view=place.field_of_view,
        whitened=bool(noise.size),
        header=acquisitions.header,
    )


def _check_amount(acquisitions: Acquisitions, lines: Lines, readout: Readout) -> None:
    """k-space of a size that may be, and not mostly of zeros: a few lines must not stand for gigabytes."""
    coils = int(acquisitions.heads["active_channels"][lines.rows[0]])
    slices = len(lines.slices_found)
    check_size(acquisitions.path, slices, coils, readout.encoded, lines.width)
    if slices * lines.width > _MOST_EXPANSION * len(lines.rows):
        raise InputError(
            f"{acquisitions.path}: expected at least one line of {_MOST_EXPANSION}, got {len(lines.rows)} lines for "
            f"{slices} slices of {lines.width}; export the whole scan"
        )


def _fill(acquisitions: Acquisitions, lines: Lines, readout: Readout) -> tuple[np.ndarray, np.ndarray]:
    """k-space [S, C, H, W] without oversampling, and what of it was measured, bool [S, H, W]."""
    coils = int(acquisitions.heads["active_channels"][lines.rows[0]])
    kspace = np.zeros((len(lines.slices_found), coils, readout.kept, lines.width), np.complex64)
    count = np.zeros((len(kspace), lines.width), np.int64)
    position = {int(row): index for index, row in enumerate(lines.rows)}
    for block, samples in acquisitions.read(lines.rows):
        check_finite(acquisitions.path, samples)
        cropped = crop_readout(samples, readout)
        for row, values in zip(block, cropped, strict=True):
            index = position[int(row)]
            place, column = lines.slices[index], lines.columns[index]
            kspace[place, :, :, column] += values
            count[place, column] += 1
    kspace /= np.maximum(count, 1)[:, None, None, :]
    return kspace, (count > 0)[:, None, :] & readout.measured[None, :, None]


def _read_noise(acquisitions: Acquisitions, rows: np.ndarray, lines: Lines) -> np.ndarray:
    """Noise complex64 [C, N], of the bandwidth of the scan."""
    heads = acquisitions.heads
    coils = int(heads["active_channels"][lines.rows[0]])
    other = rows[heads["active_channels"][rows] != coils]
    if other.size:
        raise InputError(
            f"{acquisitions.path}: noise acquisition: expected the {coils} coils of the scan, got "
            f"{int(heads['active_channels'][other[0]])}; measure the noise with the scan's coils, or take it out"
        )
    found = []
    for samples in np.unique(heads["number_of_samples"][rows]):
        for _, values in acquisitions.read(rows[heads["number_of_samples"][rows] == samples]):
            check_finite(f"{acquisitions.path}: noise acquisition", values)
            found.append(np.moveaxis(values, 1, 0).reshape(coils, -1))
    dwell = [float(heads["sample_time_us"][row]) for row in (rows[0], lines.rows[0])]
    # The variance of noise grows with the bandwidth, the inverse of the time of a sample.
    ratio = dwell[0] / dwell[1] if all(math.isfinite(time) and time > 0 for time in dwell) else 1.0
    return np.concatenate(found, axis=1) * np.float32(math.sqrt(min(max(ratio, 1e-3), 1e3)))


def _whiten(path: Path, kspace: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Makes the noise of the coils white, a slice at a time.

    Args:
        path: for messages.
        kspace: complex64 [S, C, H, W].
        noise: complex64 [C, N].

    Raises:
        InputError: too few samples, or coils that are mixtures of others.
    """
    try:
        matrix = whitening_matrix(noise_covariance(torch.from_numpy(noise)))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    white = np.empty_like(kspace)
    for index, values in enumerate(kspace):
        white[index] = prewhiten(torch.from_numpy(values), matrix).numpy()
    return white
