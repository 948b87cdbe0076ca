# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What every raw scan is checked for, whatever its format: size, finite values, dead coils, where its centre lies."""

import math
from pathlib import Path

import numpy as np
import torch

from flare_mri.errors import InputError
from flare_mri.files import MOST_SLICE_VALUES, MOST_VOXELS
from flare_mri.io.raw.sampling import SIDES
from flare_mri.physics.fourier import ifft2c

MOST_VALUES = 2**29
"""Of one volume with all its coils; 4 GiB as complex64."""

_LARGEST = 1e15  # of a value: the energy of a slice stays within float32
_DEAD = 1e-8  # of the median coil's energy
_FLAT = 4  # a coil whose k-space is not so many times stronger in its middle measures noise alone
_CENTRED = np.pi / 2  # an angle; pi stands for half the field
_SHIFTED = 0.75 * np.pi
_GATHERED = 0.3  # length of a mean direction; 0 is evenly spread


def check_size(where: object, slices: int, coils: int, height: int, width: int) -> None:
    """Refuses k-space [S, C, H, W] that is too large, or has an axis without samples.

    Raises:
        InputError: it is.
    """
    shape, shown = (slices, coils, height, width), f"[{slices}, {coils}, {height}, {width}]"
    if min(shape) < 1:
        raise InputError(f"{where}: expected k-space [S, C, H, W] with sizes above 0, got {shown}; export it again")
    limits = ((math.prod(shape[1:]), MOST_SLICE_VALUES), (slices * height * width, MOST_VOXELS))
    if any(size > most for size, most in limits) or math.prod(shape) > MOST_VALUES:
        raise InputError(
            f"{where}: expected at most {MOST_VALUES} samples in a volume and {MOST_SLICE_VALUES} in a slice, got "
            f"{shown}; give fewer slices or coils a file"
        )


def check_finite(where: object, values: np.ndarray) -> None:
    """Refuses NaN, infinities and what float32 cannot square.

    Raises:
        InputError: there are some.
    """
    parts = values.view(values.real.dtype) if values.flags.c_contiguous else np.stack([values.real, values.imag])
    with np.errstate(invalid="ignore"):
        bad = int(parts.size - (np.abs(parts) < _LARGEST).sum())
    if bad:
        raise InputError(
            f"{where}: expected finite k-space below {_LARGEST:g}, got NaN, infinity or more in {bad} places; measure "
            "or export the scan again"
        )


def inspect_coils(kspace: np.ndarray) -> tuple[str, ...]:
    """A note for each coil of k-space [S, C, H, W] that measured nothing, or noise alone; they are used all the same.

    A coil measures noise alone where its k-space is flat while that of others is not.
    """
    coils, height, width = kspace.shape[1:]
    middle = (slice(height // 2 - height // 16, height // 2 + height // 16 + 1),) + (
        slice(width // 2 - width // 16, width // 2 + width // 16 + 1),
    )
    total, inner, measured = np.zeros(coils), np.zeros(coils), np.zeros(2)
    for values in kspace:
        energy = values.real.astype(np.float64) ** 2 + values.imag.astype(np.float64) ** 2
        total += energy.sum((1, 2))
        inner += energy[:, *middle].sum((1, 2))
        present = energy.any(0)
        measured += (present.sum(), present[middle].sum())
    dead = total <= _DEAD * np.median(total)
    outer = np.maximum(total - inner, 1e-300) / max(measured[0] - measured[1], 1)
    flat = ~dead & (inner / max(measured[1], 1) < _FLAT * outer)
    notes = [f"coil {coil + 1} of {coils} is dead: it measured nothing" for coil in np.flatnonzero(dead)]
    if flat.sum() < (~dead).sum() / 2:
        notes += [f"coil {coil + 1} of {coils} is dead: it measured noise alone" for coil in np.flatnonzero(flat)]
    return tuple(notes)


def check_centre(where: object, kspace: np.ndarray) -> tuple[str, ...]:
    """Looks where the energy of k-space [S, C, H, W] and that of its image lie.

    Positions on an axis of N samples are directions 2 pi (n - N // 2) / N on a circle; their mean, weighted by energy,
    points to 0 for what is centred and to pi for what is shifted by half the axis.

    Returns:
        A note where the image lies shifted by half the field of view, which no scan is planned to do.

    Raises:
        InputError: the energy of k-space is not about its middle: its zero frequency lies elsewhere.
    """
    values = torch.from_numpy(np.ascontiguousarray(kspace[len(kspace) // 2]))
    energy = (values.abs() ** 2).sum(0).double().numpy()
    for axis, name in enumerate("HW"):
        angle, length = _direction(energy, axis)
        if length > _GATHERED and abs(angle) > _CENTRED:
            place, middle = int(energy.sum(1 - axis).argmax()), energy.shape[axis] // 2
            raise InputError(
                f"{where}: expected the zero frequency of k-space in its middle ({name} = {middle}), got its energy "
                f"about {name} = {place}; write centred k-space (fftshift along {name})"
            )
    image = (ifft2c(values).abs() ** 2).sum(0).double().numpy()
    notes = []
    for axis, name in enumerate("HW"):
        angle, length = _direction(image, axis)
        if length > _GATHERED and abs(angle) > _SHIFTED:
            notes.append(
                f"the image lies shifted by half the field of view along {name}: its k-space may have been written "
                "without fftshift of the image"
            )
    return tuple(notes)


def _direction(energy: np.ndarray, axis: int) -> tuple[float, float]:
    """Angle and length of the mean direction of energy [H, W] along an axis."""
    marginal = energy.sum(1 - axis)
    size = len(marginal)
    mean = (marginal * np.exp(2j * np.pi * (np.arange(size) - size // 2) / size)).sum() / max(marginal.sum(), 1e-300)
    return float(np.angle(mean)), float(abs(mean))


def describe_sampling(path: Path, mask: np.ndarray) -> tuple[str, ...]:
    """A note where lines of k-space, mask bool [S, H, W], are missing on one side only.

    Raises:
        InputError: nothing was measured.
    """
    if not mask.any():
        raise InputError(f"{path}: expected measured k-space, got zeros alone; leave the file out")
    notes = []
    for axis, name in enumerate(("samples of the readout (H)", "lines of the phase encoding (W)")):
        size = mask.shape[1 + axis]
        measured = np.flatnonzero(mask[len(mask) // 2].any(1 - axis))
        if not measured.size:
            continue
        first, last = int(measured[0]), int(measured[-1])
        if abs(first - (size - 1 - last)) > max(SIDES * size, np.diff(measured, prepend=first - 1).max()):
            notes.append(f"partial Fourier: {name} {first + 1} to {last + 1} of {size} measured, the rest is 0")
    return tuple(notes)
