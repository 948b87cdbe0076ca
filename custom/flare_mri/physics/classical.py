# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Classical reconstructions, which learn nothing: what a network has to be better than."""

import torch
from torch import Tensor

from flare_mri.extras import import_extra
from flare_mri.physics.conjugate_gradients import conjugate_gradients
from flare_mri.physics.fourier import ifft2c
from flare_mri.physics.operator import SenseOperator


def root_sum_of_squares(kspace: Tensor) -> Tensor:
    """The magnitude of all coils together, real [B, 1, H, W], of complex k-space [B, C, H, W].

    Of undersampled k-space it is the zero-filled image, of fully sampled k-space the target (Roemer et al., MRM 1990).
    """
    return torch.linalg.vector_norm(ifft2c(kspace), dim=1, keepdim=True)  # finite gradient at 0, unlike a root


def cg_sense(
    kspace: Tensor, mask: Tensor, sensitivities: Tensor, penalty: float = 0.005, iterations: int = 30
) -> Tensor:
    r"""CG-SENSE (Pruessmann et al., MRM 2001): least squares with Tikhonov regularisation.

    .. math::
        \arg\min_x \|A x - y\|^2 + \lambda \|x\|^2 = (A^H A + \lambda I)^{-1} A^H y

    Args:
        kspace: complex [B, C, H, W], centred.
        mask: bool or 0/1 [B, 1, H, W].
        sensitivities: complex [B, C, H, W], sum of squares 1 or 0.
        penalty: :math:`\lambda`, of the largest eigenvalue of :math:`A^H A`, which is 1.
        iterations: of conjugate gradients.

    Returns:
        complex [B, 1, H, W].

    Raises:
        InputError: shapes that do not fit together.
    """
    operator = SenseOperator(sensitivities, mask)
    zero_filled = operator.adjoint(kspace)
    return conjugate_gradients(lambda x: operator.normal(x) + penalty * x, zero_filled, iterations)


def l1_wavelet(
    kspace: Tensor, mask: Tensor, sensitivities: Tensor, penalty: float = 0.003, iterations: int = 60
) -> Tensor:
    r"""l1-wavelet reconstruction (Lustig et al., Sparse MRI, MRM 2007) with SigPy, of each sample.

    With sensitivities by ESPIRiT it is l1-ESPIRiT (Uecker et al., MRM 2014):

    .. math::
        \arg\min_x \tfrac12 \|A x - y\|^2 + \lambda \|W x\|_1

    by accelerated proximal gradients of step 1, as no eigenvalue of :math:`A^H A` is above 1. Each sample is divided by
    the maximum of its zero-filled image first, and multiplied at the end: :math:`\lambda` means the same in any unit.

    Args:
        kspace: complex [B, C, H, W], centred.
        mask: bool or 0/1 [B, 1, H, W].
        sensitivities: complex [B, C, H, W], sum of squares 1 or 0.
        penalty: :math:`\lambda`, in parts of the maximum of the zero-filled image.
        iterations: of proximal gradients.

    Returns:
        complex64 [B, 1, H, W].

    Raises:
        InputError: shapes that do not fit together, or SigPy is not installed.
    """
    app = import_extra("raw", "sigpy.mri.app", "l1-wavelet reconstruction").L1WaveletRecon
    zero_filled = SenseOperator(sensitivities, mask).adjoint(kspace)
    images = torch.zeros(zero_filled.shape, dtype=torch.complex64)
    for sample, scale in enumerate(zero_filled.abs().amax((1, 2, 3)).tolist()):
        if scale:
            sampled = mask.expand(len(kspace), -1, -1, -1)[sample].cpu()
            measured = (kspace[sample].cpu() * sampled / scale).to(torch.complex64)
            solver = app(
                measured.numpy(),
                sensitivities[sample].cpu().to(torch.complex64).numpy(),
                penalty,
                weights=sampled.float().numpy(),
                max_iter=iterations,
                alpha=1,
                show_pbar=False,
            )
            images[sample, 0] = scale * torch.from_numpy(solver.run())
    return images.to(kspace.device)
