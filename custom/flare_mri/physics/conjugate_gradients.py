# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Conjugate gradients for a batch of independent self-adjoint systems."""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradients(
    system: Callable[[Tensor], Tensor],
    right: Tensor,
    iterations: int,
    start: Tensor | None = None,
    tolerance: float | None = None,
) -> Tensor:
    """Solve ``system(x) = right`` for every sample of a batch (Hestenes and Stiefel, 1952).

    A sample that is solved stays as it is while others go on, so a solution does not depend on its batch.

    Args:
        system: a linear map that is self-adjoint and positive definite within each sample.
        right: real or complex [B, ...].
        iterations: at most; there are fewer where all samples are solved.
        start: where to begin, of the shape of `right`; None: at 0.
        tolerance: a sample is solved where its residual's norm is at most this part of that of `right`; None: ten times
            the relative precision of its numbers.

    Returns:
        The solution, of the shape of `right`.
    """
    x = torch.zeros_like(right) if start is None else start
    residual = right if start is None else right - system(start)
    direction = residual
    energy = _inner(residual, residual)
    tolerance = 10 * torch.finfo(right.dtype).eps if tolerance is None else tolerance
    enough = tolerance**2 * _inner(right, right)
    for _ in range(iterations):
        active = energy > enough
        if not active.any():
            break
        image = system(direction)
        curvature = _inner(direction, image)
        step = torch.where(active & (curvature > 0), energy / curvature, 0)
        x = x + step * direction
        residual = residual - step * image
        before, energy = energy, torch.where(active, _inner(residual, residual), energy)
        direction = residual + torch.where(before > 0, energy / before, 0) * direction
    return x


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """The real inner product of each sample, [B, 1, ...]."""
    axes = tuple(range(1, one.dim()))
    return (one.conj() * other).real.sum(axes, keepdim=True)
