# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""k-space sampling masks: which points of k-space a site's undersampled scan measures.

Every mask is bool [H, W] in centred order: zero frequency at [H // 2, W // 2].
"""

import numpy as np
import torch
from monai.apps.reconstruction.transforms.array import EquispacedKspaceMask, RandomKspaceMask

from flare_mri.config.mask import MaskSettings
from flare_mri.errors import InputError
from flare_mri.io.mask_files import read_mask

_GOLDEN_ANGLE = np.pi * (np.sqrt(5) - 1) / 2
_GAUSSIAN_WIDTH = 0.4  # standard deviation of the 2D density as a part of the half width and height


def make_mask(settings: MaskSettings, shape: tuple[int, int]) -> np.ndarray:
    """Makes one site's mask.

    Args:
        settings: kind, acceleration, centre fraction, seed.
        shape: (H, W) of k-space.

    Returns:
        bool [H, W], centred. Equispaced and random masks hold whole columns (the last axis is the phase encoding).
        The sampled part is 1 / acceleration to 10 % (or to one column, for few of them).

    Raises:
        InputError: the settings cannot be met at this shape, or the file is not a mask of this shape.
    """
    if settings.kind == "file":
        return read_mask(settings.path, shape)
    if not (settings.acceleration > 1 and 0 <= settings.centre_fraction < 1):
        raise InputError(
            "mask: expected acceleration > 1 and centre_fraction in [0, 1), got "
            f"{settings.acceleration:g} and {settings.centre_fraction:g}; correct them"
        )
    if settings.kind in ("equispaced", "random"):
        mask = _columns(settings, shape)
    else:
        mask = (_radial if settings.kind == "radial" else _gaussian)(settings, shape)
    if not mask[shape[0] // 2, shape[1] // 2]:
        raise InputError("mask.centre_fraction: the zero frequency is not sampled; raise it until it holds one column")
    return mask


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _unmet(settings: MaskSettings, shape: tuple[int, int]) -> InputError:
    return InputError(
        f"mask: {settings.kind} at {_size(shape)} cannot sample 1/{settings.acceleration:g} of k-space with "
        f"centre_fraction {settings.centre_fraction:g}; lower the acceleration or the centre_fraction"
    )


def _columns(settings: MaskSettings, shape: tuple[int, int]) -> np.ndarray:
    """MONAI's fastMRI masks, redrawn until they have the wanted number of columns to 10 % or one column."""
    width = shape[1]
    if round(width * settings.centre_fraction) * settings.acceleration >= width:
        raise _unmet(settings, shape)  # MONAI would divide by zero or sample nothing outside the centre
    wanted = width / settings.acceleration
    kind = EquispacedKspaceMask if settings.kind == "equispaced" else RandomKspaceMask
    draw = kind([settings.centre_fraction], [settings.acceleration])
    draw.set_random_state(settings.seed)
    for _ in range(1000):
        draw(torch.zeros(1, 1, width, 2))
        columns = draw.mask.numpy().reshape(width) > 0
        if abs(columns.sum() - wanted) <= max(1, 0.1 * wanted):
            return np.tile(columns, (shape[0], 1))
    raise _unmet(settings, shape)


def _radius(shape: tuple[int, int]) -> np.ndarray:
    """Distance from zero frequency, float [H, W], in parts of the half height and half width."""
    rows, columns = (2 * (np.arange(size) - size // 2) / size for size in shape)
    return np.hypot(rows[:, None], columns[None, :])


def _radial(settings: MaskSettings, shape: tuple[int, int]) -> np.ndarray:
    """Full spokes through the centre, each a golden angle on from the one before, until enough is sampled."""
    mask = _radius(shape) <= settings.centre_fraction
    wanted = mask.size / settings.acceleration
    if mask.sum() > wanted:
        raise _unmet(settings, shape)
    height, width = shape
    along = np.linspace(-0.5, 0.5, 2 * max(shape))
    angle = np.random.default_rng(settings.seed).uniform(0, np.pi)
    for _ in range(4 * sum(shape)):
        rows = np.rint(along * height * np.sin(angle)).astype(int) + height // 2
        columns = np.rint(along * width * np.cos(angle)).astype(int) + width // 2
        mask[rows.clip(0, height - 1), columns.clip(0, width - 1)] = True
        if mask.sum() >= wanted:
            return mask
        angle += _GOLDEN_ANGLE
    raise _unmet(settings, shape)  # spokes never reach the corners


def _gaussian(settings: MaskSettings, shape: tuple[int, int]) -> np.ndarray:
    """Points without replacement, their density a Gaussian of the distance from zero frequency."""
    radius = _radius(shape)
    mask = radius <= settings.centre_fraction
    missing = round(mask.size / settings.acceleration) - int(mask.sum())
    if missing < 0:
        raise _unmet(settings, shape)
    # The largest keys log(w) + Gumbel noise are a draw without replacement with weights w.
    keys = -0.5 * (radius / _GAUSSIAN_WIDTH) ** 2 + np.random.default_rng(settings.seed).gumbel(size=shape)
    keys[mask] = -np.inf
    mask.flat[np.argsort(keys, axis=None)[mask.size - missing :]] = True
    return mask
