# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""Multi-coil k-space of magnitude images: coil sensitivities, a smooth phase and correlated complex noise.

A coil measures :math:`y_c = F (S_c x) + n_c` with a complex image :math:`x = m e^{i \phi}` of the magnitudes
:math:`m`; :math:`\sum_c |S_c|^2 = 1`, so that the root of the sum of squares of noiseless coils is :math:`m`.
"""

from dataclasses import dataclass

import numpy as np
import torch

from flare_mri.datasets.phantom_head import smooth_noise
from flare_mri.physics.fourier import fft2c

DEFAULT_COILS = 8

_RING = (1.25, 1.35)  # half axes of the ellipse of coils, in half fields of view
_LOOP = 0.85  # radius of a coil's loop, in half fields of view
_TURN = 1.2  # rad of a coil's phase in half a field of view
_PHASE = 0.8  # standard deviation of the phase, in rad
_NOISE_SAMPLES = 2048


@dataclass(frozen=True, eq=False)
class PhantomKspace:
    """A simulated multi-coil scan.

    Attributes:
        kspace: complex64 [S, C, H, W], centred, orthonormal, fully sampled.
        sensitivities: complex64 [S, C, H, W], the sum over coils of their squares is 1.
        images: complex64 [S, H, W], what was scanned.
        covariance: complex128 [C, C], of the noise of the coils.
        noise: complex64 [C, N], an acquisition of noise alone.
    """

    kspace: np.ndarray
    sensitivities: np.ndarray
    images: np.ndarray
    covariance: np.ndarray
    noise: np.ndarray


def coil_sensitivities(rng: np.random.Generator, shape: tuple[int, int, int], coils: int) -> np.ndarray:
    r"""Smooth complex sensitivities of loops on an ellipse about the head.

    The magnitude falls as the field on the axis of a loop of radius a, :math:`(1 + d^2 / a^2)^{-3/2}`, the phase grows
    along the loop's tangent; the squares' sum over the coils is normalised.

    Args:
        rng: turns the ellipse and shifts the coils.
        shape: (S, H, W) of the images, any size.
        coils: number of coils, at least 1.

    Returns:
        complex64 [S, C, H, W].
    """
    slices, height, width = shape
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * (np.arange(coils) + rng.uniform(-0.2, 0.2, coils)) / coils
    level, own_phase = rng.uniform(-0.3, 0.3, coils), rng.uniform(0, 2 * np.pi, coils)
    y = _axis(height)[:, None] - _RING[1] * np.sin(angles)[:, None, None]
    x = _axis(width)[None, :] - _RING[0] * np.cos(angles)[:, None, None]
    tangent = np.cos(angles)[:, None, None] * y - np.sin(angles)[:, None, None] * x
    turn = np.exp(1j * (_TURN * tangent + own_phase[:, None, None]))
    result = np.empty((slices, coils, height, width), np.complex64)
    for index, z in enumerate(np.linspace(-0.3, 0.3, slices) if slices > 1 else [0.0]):
        distance = x**2 + y**2 + (z - level[:, None, None]) ** 2
        maps = (1 + distance / _LOOP**2) ** -1.5 * turn
        result[index] = maps / np.sqrt((np.abs(maps) ** 2).sum(0))
    return result


def simulate_coils(
    magnitudes: np.ndarray, rng: np.random.Generator, coils: int = DEFAULT_COILS, snr: float = 40.0
) -> PhantomKspace:
    """Scans magnitude images with several coils.

    Args:
        magnitudes: [S, H, W], at least 0; sizes may be odd.
        rng: draws coils, phase and noise.
        coils: number of coils.
        snr: largest magnitude over the standard deviation of real and of imaginary part of a coil's noise; infinity
            for none.

    Returns:
        The fully sampled scan.
    """
    slices, height, width = magnitudes.shape
    maps = coil_sensitivities(rng, (slices, height, width), coils)
    phase = _PHASE * smooth_noise(rng, magnitudes.shape, (0.5, height / 6, width / 6)) + rng.uniform(0, 2 * np.pi)
    images = (magnitudes * np.exp(1j * phase)).astype(np.complex64)
    covariance = _covariance(rng, coils) * 2 * (float(magnitudes.max()) / snr) ** 2
    mixing = np.linalg.cholesky(covariance) if np.isfinite(snr) else covariance
    kspace = np.empty_like(maps)
    for index in range(slices):
        clean = fft2c(torch.from_numpy(maps[index] * images[index])).numpy()
        kspace[index] = clean + _draw(rng, mixing, height * width).reshape(coils, height, width)
    return PhantomKspace(kspace, maps, images, covariance, _draw(rng, mixing, _NOISE_SAMPLES).astype(np.complex64))


def _axis(size: int) -> np.ndarray:
    """Positions of an axis in half fields of view, 0 at the middle of a centred Fourier transform."""
    return (np.arange(size) - size // 2) / (size / 2)


def _covariance(rng: np.random.Generator, coils: int) -> np.ndarray:
    """Hermitian [C, C] of neighbours that share noise, 1 on the mean of its diagonal."""
    between = np.abs(np.arange(coils)[:, None] - np.arange(coils))
    shared = 0.35 ** np.minimum(between, coils - between)
    turn = np.exp(1j * rng.uniform(0, 2 * np.pi, coils)) * np.sqrt(rng.uniform(0.7, 1.3, coils))
    matrix = turn[:, None] * shared * turn.conj()
    return matrix * coils / np.trace(matrix).real


def _draw(rng: np.random.Generator, mixing: np.ndarray, number: int) -> np.ndarray:
    """Circular complex noise [C, number]; `mixing` times its adjoint is its covariance."""
    white = rng.standard_normal((len(mixing), number)) + 1j * rng.standard_normal((len(mixing), number))
    return mixing @ white / np.sqrt(2)
