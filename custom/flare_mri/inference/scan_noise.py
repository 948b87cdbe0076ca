# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The noise of a raw scan, from the scan itself: from beside the object where whole lines of k-space were measured."""

import math

import numpy as np
import torch

from flare_mri.physics.fourier import ifftc
from flare_mri.physics.noise import MEDIAN, noise_variance

_FREE = 0.1  # of the field of view along a line that has to lie beside the object
_FEWEST_LINES = 8
_WHOLE = 0.6  # of the matrix that a line has to cover; a partial echo covers less than all


def estimate_noise(kspace: np.ndarray, mask: np.ndarray) -> float:
    r"""Standard deviation of the noise of a sample of k-space, real and imaginary part together.

    Edges reach the outermost samples of k-space: these alone tell noise from the object only where it is smooth. Where
    whole lines were measured, along either axis, the inverse Fourier transform along them shows each line's energy by
    place: beside the object there is noise alone, whatever its edges and however many lines were left out. The estimate
    is the median of :math:`|y|^2` there over :math:`\ln 2`, that of complex Gaussian noise; mean over the coils.

    It is an upper bound where less than a tenth of the field of view lies beside the object, and where no whole lines
    were measured: it is then the same median over the samples farthest from zero frequency.

    Args:
        kspace: complex [S, C, H, W].
        mask: bool [S, H, W], true where k-space was measured.

    Returns:
        In the unit of `kspace`; NaN where nothing was measured.
    """
    variances = []
    for values, measured in zip(kspace, mask, strict=True):
        if not measured.any():
            continue
        across = values.swapaxes(1, 2), measured.T
        found = [_beside_object(values, measured), _beside_object(*across), _far_out(values, measured)]
        variances.append(min(variance for variance in found if variance is not None))
    return float(np.sqrt(np.mean(variances))) if variances else math.nan


def _beside_object(values: np.ndarray, measured: np.ndarray) -> float | None:
    """Variance of noise of lines along the last axis, [C, L, N] with a mask [L, N]; None where too few are whole."""
    lines = np.flatnonzero(measured.any(1))
    places = np.flatnonzero(measured[lines].all(0))
    one_piece = len(places) and places[-1] - places[0] + 1 == len(places)
    if len(lines) < _FEWEST_LINES or not one_piece or len(places) < _WHOLE * measured.shape[1]:
        return None
    window = np.zeros(measured.shape[1])
    window[places] = np.hanning(len(places) + 2)[1:-1]  # against side lobes of the object, which end at no place
    window /= np.sqrt(np.mean(window**2))
    energy = ifftc(torch.from_numpy(values[:, lines] * window), 1).abs().square().numpy()  # [C, lines, places]
    energy_of_coil = np.median(energy, axis=(1, 2), keepdims=True)
    parts = []
    for choosing, measuring in ((0, 1), (1, 0)):  # the emptiest places of some lines would flatter these very lines
        loud = (energy[:, choosing::2] / np.where(energy_of_coil, energy_of_coil, 1)).mean((0, 1))
        free = np.argsort(loud)[: max(2, round(_FREE * len(loud)))]
        parts.append(np.median(energy[:, measuring::2][..., free], axis=(1, 2)).mean() / MEDIAN)
    return float(np.mean(parts))


def _far_out(values: np.ndarray, measured: np.ndarray) -> float:
    """Variance of the measured samples farthest from zero frequency, of [C, H, W] with a mask [H, W]."""
    kspace, mask = torch.from_numpy(np.array(values)), torch.from_numpy(np.array(measured))  # copied: may be read-only
    return float(noise_variance(kspace[None], mask[None, None]).mean())
