# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Physics of MR measurement: Fourier transform, coils, data consistency and classical reconstruction.

Images and k-space are complex tensors here, batch and coils first: k-space and coil sensitivities [B, C, H, W], images
[B, 1, H, W]. A last axis of real and imaginary parts stands only where one of MONAI's networks is called. k-space is
centred, zero frequency at [H // 2, W // 2], and the transform orthonormal; H and W may be odd.
"""

from flare_mri.physics.data_consistency import DATA_CONSISTENCY
from flare_mri.physics.fourier import fft2c, fftc, ifft2c, ifftc
from flare_mri.physics.operator import SenseOperator

__all__ = ["DATA_CONSISTENCY", "SenseOperator", "fft2c", "fftc", "ifft2c", "ifftc"]
