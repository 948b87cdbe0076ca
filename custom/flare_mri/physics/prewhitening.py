# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""Prewhitening: noise of unit variance in every coil, and of none in common, from a scan of noise alone.

With the noise :math:`n` of all coils, :math:`\Psi = E[n n^H] = L L^H`, data become :math:`y \leftarrow L^{-1} y`
(Pruessmann et al., MRM 2001; Kellman and McVeigh, MRM 2005).
"""

import torch
from torch import Tensor

from flare_mri.errors import InputError

_DEAD = 1e-12  # of the largest variance: below that a coil measures nothing
_INDEPENDENT = 1e-4  # of a coil's noise is at least its own


def noise_covariance(noise: Tensor) -> Tensor:
    r"""The covariance :math:`\Psi = \frac{1}{N} \sum_n (n - \bar n)(n - \bar n)^H` of a noise acquisition.

    Args:
        noise: complex [C, N], samples of every coil. Where its bandwidth is not the scan's, scale it by the root of
            their ratio first.

    Returns:
        complex128 [C, C], Hermitian.

    Raises:
        InputError: samples that are not complex or finite, or fewer than twice the coils.
    """
    if noise.dim() != 2 or not noise.is_complex():
        raise InputError(
            f"noise acquisition: expected complex samples [coils, samples], got {noise.dtype} {list(noise.shape)}; "
            "leave it out"
        )
    coils, samples = noise.shape
    if samples < 2 * coils:
        raise InputError(
            f"noise acquisition: expected at least {2 * coils} samples for {coils} coils, got {samples}; measure a "
            "longer one, or leave it out"
        )
    if not torch.isfinite(torch.view_as_real(noise)).all():
        raise InputError("noise acquisition: expected finite samples, got NaN or infinity; leave it out")
    centred = noise.to(torch.complex128)
    centred = centred - centred.mean(1, keepdim=True)
    return centred @ centred.mH / samples


def dead_coils(covariance: Tensor) -> list[int]:
    """The numbers of the coils that have no noise and so measure nothing, from 0."""
    variance = covariance.diagonal().real
    return (variance <= _DEAD * variance.max()).nonzero()[:, 0].tolist()


def whitening_matrix(covariance: Tensor) -> Tensor:
    """:math:`L^{-1}`, complex [C, C]; rows and columns of dead coils are 0, since nothing can be said of them.

    Args:
        covariance: complex [C, C], as of :func:`noise_covariance`.

    Raises:
        InputError: it is none: not positive definite among the coils that are alive.
    """
    dead = set(dead_coils(covariance))
    alive = [coil for coil in range(len(covariance)) if coil not in dead]
    matrix = torch.zeros_like(covariance)
    if alive:
        rows, columns = torch.meshgrid(torch.tensor(alive), torch.tensor(alive), indexing="ij")
        deviation = covariance.diagonal().real[alive].sqrt()
        lower, failed = torch.linalg.cholesky_ex(covariance[rows, columns] / torch.outer(deviation, deviation))
        if failed or lower.diagonal().real.min() < _INDEPENDENT:
            raise InputError(
                "noise acquisition: expected independent coils, got some that are mixtures of others; leave out the "
                "noise acquisition, or the doubled coils"
            )
        unit = torch.eye(len(alive), dtype=covariance.dtype)
        matrix[rows, columns] = torch.linalg.solve_triangular(lower, unit, upper=False) / deviation
    return matrix


def prewhiten(kspace: Tensor, matrix: Tensor) -> Tensor:
    """Apply a :func:`whitening_matrix` to the coils of k-space, complex [..., C, H, W], of any precision.

    Raises:
        InputError: it has another number of coils.
    """
    if kspace.dim() < 3 or kspace.shape[-3] != len(matrix):
        raise InputError(
            f"noise acquisition: expected the {kspace.shape[-3] if kspace.dim() > 2 else 0} coils of the scan, got "
            f"{len(matrix)}; leave it out"
        )
    return torch.einsum("dc,...chw->...dhw", matrix.to(kspace), kspace)
