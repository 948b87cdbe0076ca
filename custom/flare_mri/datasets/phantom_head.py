# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Anatomy of the phantom's heads: tissue label maps of transverse slices, each subject its own.

The head is nested ellipsoids (scalp, skull, cerebrospinal fluid, brain) whose radii wobble; the cortex is folded by
smooth random fields; ventricles, deep nuclei and lesions vary in place, size and number.
"""

from enum import IntEnum

import numpy as np
from scipy.ndimage import fourier_gaussian


class Label(IntEnum):
    """Values of a label map."""

    AIR = 0
    SCALP = 1
    SKULL = 2
    MARROW = 3
    CSF = 4
    GREY = 5
    WHITE = 6
    DEEP_GREY = 7
    LESION = 8


def head_labels(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Draws one subject.

    Args:
        rng: decides the anatomy.
        shape: (S, H, W); the S slices lie from the level of the ventricles upwards, anterior is row 0.

    Returns:
        uint8 [S, H, W] of `Label` values.
    """
    slices, height, width = shape
    z = np.linspace(0.08, 0.6, slices)[:, None, None] + rng.uniform(-0.03, 0.03)
    y = np.linspace(1.08, -1.08, height)[None, :, None] + rng.uniform(-0.05, 0.05)
    x = np.linspace(-1.08, 1.08, width)[None, None, :] + rng.uniform(-0.05, 0.05)
    x, y = _rotate(x, y, rng.normal(0, 0.06))
    head = _head_radius(rng, x, y, z)
    labels = np.zeros(shape, np.uint8)
    scalp = 0.06 + 0.02 * rng.random() + 0.015 * _texture(rng, shape, 0.2)
    labels[head < 1] = Label.SCALP
    labels[head < 1 - scalp] = Label.SKULL
    labels[np.abs(head - (0.96 - scalp)) < 0.012] = Label.MARROW
    labels[head < 0.92 - scalp] = Label.CSF
    brain = head / (0.9 - scalp)
    _paint_brain(rng, labels, brain, x, y)
    _paint_deep(rng, labels, brain, x, y, z)
    _paint_lesions(rng, labels, brain, x, y, z)
    return labels


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], width: tuple[float, float, float]
) -> np.ndarray:
    """Periodic Gaussian random field [S, H, W] of mean 0 and standard deviation 1, smoothed by `width` voxels."""
    spectrum = fourier_gaussian(np.fft.rfftn(rng.standard_normal(shape)), width, n=shape[2])
    field = np.fft.irfftn(spectrum, shape, axes=(0, 1, 2))
    return (field - field.mean()) / field.std()


def _rotate(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    return np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y


def _head_radius(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Radius [S, H, W] in parts of the head's own: 1 on the skin."""
    half_width, half_length = rng.uniform(0.68, 0.76), rng.uniform(0.86, 0.94)
    angle = np.arctan2(y, x)
    wobble = sum(rng.normal(0, 0.012) * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in (2, 3, 4, 5))
    pear = 1 + 0.06 * np.tanh(2 * y)  # narrower in front
    return np.hypot(x / half_width * pear, y / half_length) / np.sqrt(1 - z**2) * (1 + wobble)


def _texture(rng: np.random.Generator, shape: tuple[int, int, int], size: float) -> np.ndarray:
    """Smooth random field whose scale in the slice is `size` half field widths."""
    return smooth_noise(rng, shape, (0.6, size * shape[1] / 2, size * shape[2] / 2))


def _paint_brain(rng: np.random.Generator, labels: np.ndarray, brain: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """White matter, the folded cortex, sulci and the fissure between the hemispheres."""
    fold, depth = _texture(rng, labels.shape, 0.055), _texture(rng, labels.shape, 0.12)
    atrophy = rng.uniform(0.6, 1.4)
    reach = 0.74 + 0.07 * depth  # how deep the sulci go
    midline = np.abs(x + 0.01 * depth)
    fissure = (np.abs(y) > 0.36) & (brain < 1)
    labels[brain < 1] = Label.WHITE
    cortex = brain > 0.885 + 0.02 * depth
    ribbon = cortex | ((np.abs(fold) < 0.6) & (brain > reach - 0.07)) | (fissure & (midline < 0.06))
    labels[ribbon & (brain < 1)] = Label.GREY
    sulcus = (np.abs(fold) < 0.10 * atrophy) & (brain > reach) | (fissure & (midline < 0.013 * atrophy))
    labels[sulcus & (brain < 1)] = Label.CSF


def _ellipse(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], half: tuple[float, float], tilt: float):
    """Squared elliptical radius about `centre`, below 1 inside."""
    across, along = _rotate(x - centre[0], y - centre[1], tilt)
    return (across / half[0]) ** 2 + (along / half[1]) ** 2


def _paint_deep(
    rng: np.random.Generator, labels: np.ndarray, brain: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> None:
    """Thalamus, putamen and caudate in the lower slices, lateral and third ventricles, on both sides."""
    size = rng.uniform(0.75, 1.3)
    fade = np.clip(1 - ((z - 0.2) / 0.32) ** 2, 0.05, 1)  # ventricles are largest at z = 0.2
    nuclei = np.clip(1 - ((z - 0.1) / 0.25) ** 2, 1e-3, 1)
    inside = brain < 0.95
    for side in (-1, 1):
        shift = rng.normal(0, 0.008)
        for centre, half, tilt in (((0.13, -0.08), (0.10, 0.14), 0.5), ((0.30, 0.08), (0.065, 0.19), 0.25)):
            place = (side * (centre[0] + shift), centre[1])
            labels[inside & (_ellipse(x, y, place, half, side * tilt) < nuclei)] = Label.DEEP_GREY
        caudate = _ellipse(x, y, (side * (0.165 + shift), 0.24), (0.045, 0.10), side * -0.2)
        labels[inside & (caudate < nuclei)] = Label.DEEP_GREY
        width = 0.05 * size * rng.uniform(0.85, 1.15)
        front = _ellipse(x, y, (side * (0.085 + shift), 0.23), (width, 0.15), side * -0.3)
        body = _ellipse(x, y, (side * (0.07 + shift), 0.02), (0.6 * width, 0.16), side * 0.05)
        back = _ellipse(x, y, (side * (0.18 + shift), -0.26), (1.1 * width, 0.19), side * 0.45)
        upper = np.where(z < 0.2, 0.0, 1.0)  # below, the body gives way to the thalami
        labels[inside & ((front < fade) | (body < fade * upper) | (back < fade))] = Label.CSF
    third = _ellipse(x, y, (0.0, -0.05), (0.018 * size, 0.12), 0.0)
    labels[inside & (third < nuclei)] = Label.CSF


def _paint_lesions(
    rng: np.random.Generator, labels: np.ndarray, brain: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> None:
    """None to four small lesions of the white matter and, in one subject of three, a large one."""
    radii = list(rng.uniform(0.03, 0.07, rng.integers(0, 5))) + [rng.uniform(0.13, 0.22)] * (rng.random() < 1 / 3)
    rough = _texture(rng, labels.shape, 0.06)
    for radius in radii:
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.55)
        place = (0.7 * distance * np.cos(angle), distance * np.sin(angle))
        level = rng.uniform(0.15, 0.5)
        distance2 = (
            _ellipse(x, y, place, (radius, radius * rng.uniform(0.8, 1.3)), angle) + ((z - level) / radius / 1.5) ** 2
        )
        labels[(distance2 < 1 + 0.35 * rough) & (brain < 0.93) & (labels != Label.CSF)] = Label.LESION
