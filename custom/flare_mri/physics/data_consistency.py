# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""Data consistency: what a network predicts is brought to agree with what the scanner measured.

All three work on one coil or many, on a prediction :math:`z` [B, 1, H, W], the zero-filled image :math:`A^H y` and the
operator :math:`A` (:class:`flare_mri.physics.operator.SenseOperator`), of which :math:`A^H y` is computed once a scan.
"""

import math

import torch
from torch import Tensor, nn

from flare_mri.errors import InputError
from flare_mri.physics.conjugate_gradients import conjugate_gradients
from flare_mri.physics.operator import SenseOperator


class HardDataConsistency(nn.Module):
    r"""Measured samples take the place of predicted ones, in every coil.

    .. math::
        x = S^H \mathcal F^{-1} (M y + (1 - M) \mathcal F S z) = S^H S z + A^H y - A^H A z

    With one coil the result has the measured samples exactly (Schlemper et al., IEEE TMI 2018, arXiv 1704.02422,
    without noise); with several, combining the coils takes part of the change back.
    """

    def forward(self, image: Tensor, zero_filled: Tensor, operator: SenseOperator) -> Tensor:
        """Prediction and zero-filled image, complex [B, 1, H, W], to the consistent image of the same shape."""
        return operator.support * image + zero_filled - operator.normal(image)


class SoftDataConsistency(nn.Module):
    r"""Measured samples weigh :math:`w = \lambda / (1 + \lambda)` against predicted ones; :math:`\lambda` is learned.

    .. math::
        x = S^H S z + w (A^H y - A^H A z)

    (Schlemper et al., IEEE TMI 2018, arXiv 1704.02422, with noise.) ``log_weight`` is
    :math:`\log \lambda`, so that :math:`w` stays between 0 and 1.

    Args:
        weight: :math:`w` at the start, above 0 and below 1.

    Raises:
        InputError: a weight outside of that.
    """

    def __init__(self, weight: float = 0.95):
        super().__init__()
        if not 0 < weight < 1:
            raise InputError(f"data consistency: weight: expected above 0 and below 1, got {weight!r}; correct it")
        self.log_weight = nn.Parameter(torch.tensor(math.log(weight / (1 - weight))))

    def forward(self, image: Tensor, zero_filled: Tensor, operator: SenseOperator) -> Tensor:
        """Prediction and zero-filled image, complex [B, 1, H, W], to the more consistent image of the same shape."""
        weight = self.log_weight.sigmoid()
        return operator.support * image + weight * (zero_filled - operator.normal(image))


class ConjugateGradientDataConsistency(nn.Module):
    r"""The image nearest to both measurement and prediction, with a learned weight :math:`\lambda` of the prediction.

    .. math::
        x = \arg\min_x \|A x - y\|^2 + \lambda \|x - z\|^2 = (A^H A + \lambda I)^{-1} (A^H y + \lambda z)

    by conjugate gradients (Aggarwal et al., MoDL, IEEE TMI 2019, arXiv 1712.02862). As there, gradients
    come from the solution, not from the way to it: the system is its own adjoint, and one more solution of it in the
    backward pass is all that they need, whatever the number of iterations. ``log_weight`` is :math:`\log \lambda`.

    Args:
        weight: :math:`\lambda` at the start, above 0; the largest eigenvalue of :math:`A^H A` is 1.
        iterations: of conjugate gradients, at most: of one coil a single one gives the solution.

    Raises:
        InputError: a weight or a number of iterations outside of that.
    """

    def __init__(self, weight: float = 0.05, iterations: int = 5):
        super().__init__()
        if not (weight > 0 and math.isfinite(weight)):
            raise InputError(f"data consistency: weight: expected above 0, got {weight!r}; correct it")
        if not 1 <= iterations <= 1000:
            raise InputError(f"data consistency: iterations: expected 1 to 1000, got {iterations!r}; correct it")
        self.log_weight = nn.Parameter(torch.tensor(math.log(weight)))
        self.iterations = iterations

    def forward(self, image: Tensor, zero_filled: Tensor, operator: SenseOperator) -> Tensor:
        """Prediction and zero-filled image, complex [B, 1, H, W], to the solution of the same shape."""
        weight = self.log_weight.exp()

        def system(x: Tensor) -> Tensor:
            return operator.normal(x) + weight * x

        right = zero_filled + weight * image
        with torch.no_grad():
            solution = conjugate_gradients(system, right, self.iterations, start=image)
        residual = right - system(solution)
        if not residual.requires_grad:
            return solution

        def solve_adjoint(gradient: Tensor) -> Tensor:
            with torch.no_grad():
                return conjugate_gradients(system, gradient, self.iterations)

        # d(solution) = system^-1 d(residual at a fixed solution): a term of value 0 carries that gradient.
        carrier = residual - residual.detach()
        carrier.register_hook(solve_adjoint)
        return solution + carrier


DATA_CONSISTENCY: dict[str, type[nn.Module]] = {
    "hard": HardDataConsistency,
    "soft": SoftDataConsistency,
    "cg": ConjugateGradientDataConsistency,
}
"""By the name that settings use."""
