# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A raw scan: complex k-space of all coils, what of it was measured, and where the image lies.

Axes agree with fastMRI's files: H is the readout, W the phase encoding. k-space is centred, zero frequency at
[H // 2, W // 2], and its Fourier transform is orthonormal, as in :mod:`flare_mri.physics.fourier`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from flare_mri.io.raw.header import Header
from flare_mri.io.raw.sampling import is_complete
from flare_mri.physics.coil_sensitivities import fully_sampled_centre


@dataclass(frozen=True, eq=False)
class RawScan:
    """k-space of one volume, slices in order, as it is used for reconstruction.

    Attributes:
        kspace: complex64 [S, C, H, W], finite, 0 where it was not measured.
        mask: bool [S, H, W], what was measured; a view without memory of its own where all slices agree.
        geometry: float64 [4, 4], from voxel indices (h, w, s) of the image to mm, RAS; None where the file does not
            say.
        field_of_view: mm of the image along H and W, and from slice to slice; None where the file does not say.
        notes: what was found and done, a line each: averages, oversampling, dead coils.
        target: float32 [S, H, W], root of the sum of squares of the fully sampled coils; None where the scan is
            undersampled.
        header: what the file says of the scan; empty where it has no header of ISMRMRD.
        whitened: whether the coils' noise was made white with a noise acquisition; its variance is then 1, real and
            imaginary part together, in samples that were measured once.
    """

    kspace: np.ndarray
    mask: np.ndarray
    geometry: np.ndarray | None = None
    field_of_view: tuple[float, float, float] | None = None
    notes: tuple[str, ...] = ()
    target: np.ndarray | None = None
    whitened: bool = False
    header: Header = Header()

    @cached_property
    def fully_sampled(self) -> bool:
        """Whether nothing is missing but outer samples on both sides, which a scanner fills with zeros."""
        return all(is_complete(mask) for mask in _different(self.mask))

    @cached_property
    def centre(self) -> tuple[int, int]:
        """Height and width of the largest block about zero frequency that was measured in every slice."""
        everywhere = torch.from_numpy(np.logical_and.reduce(_different(self.mask)))
        height, width = fully_sampled_centre(everywhere[None, None])[0].tolist()
        return height, width

    @cached_property
    def acceleration(self) -> float:
        """All samples of k-space over those that were measured, mean over the slices."""
        return float(1 / max(np.mean([mask.mean() for mask in _different(self.mask)]), 1e-9))


def _different(mask: np.ndarray) -> list[np.ndarray]:
    """The masks [H, W] of slices; one where all slices share the memory of one."""
    return [mask[0]] if mask.strides[0] == 0 else list(mask)
