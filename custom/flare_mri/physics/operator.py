# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Forward operator of parallel imaging, coil sensitivities, Fourier transform and sampling, and its adjoint."""

import torch
from torch import Tensor

from flare_mri.errors import InputError

_PLANE = (-2, -1)


class SenseOperator:
    r"""The forward operator of parallel imaging (Pruessmann et al., SENSE, MRM 1999), batched and differentiable.

    .. math::
        (A x)_c = M \mathcal F (S_c x), \qquad
        A^H y = \sum_c \bar S_c \mathcal F^{-1} M y_c, \qquad
        A^H A x = \sum_c \bar S_c \mathcal F^{-1} M \mathcal F (S_c x)

    with the sampling mask :math:`M`, the centred orthonormal transform :math:`\mathcal F` and sensitivities
    :math:`S_c` with :math:`\sum_c |S_c|^2 \le 1`, so that no eigenvalue of :math:`A^H A` is above 1.

    Sensitivities and mask are shifted once: every call then shifts images of one channel, never all coils.

    Args:
        sensitivities: complex [B, C, H, W]; ones for a single coil.
        mask: bool or 0/1, centred, of a shape that broadcasts to that of the sensitivities: [B, 1, H, W].

    Attributes:
        support: :math:`\sum_c |S_c|^2`, real [B, 1, H, W]: 1 where the coils see the object, 0 where they do not.

    Raises:
        InputError: shapes or types are others.

    Example:
        >>> operator = SenseOperator(torch.ones(1, 1, 4, 5, dtype=torch.complex64), torch.ones(1, 1, 4, 5))
        >>> operator.adjoint(operator.forward(torch.ones(1, 1, 4, 5) + 0j)).real.allclose(torch.ones(1, 1, 4, 5))
        True
    """

    def __init__(self, sensitivities: Tensor, mask: Tensor):
        _check(sensitivities, mask)
        self.support = sensitivities.abs().square().sum(1, keepdim=True)
        self._shape = sensitivities.shape
        self._sensitivities = torch.fft.ifftshift(sensitivities, _PLANE)
        self._conjugates = self._sensitivities.conj().resolve_conj()
        self._mask = torch.fft.ifftshift(mask, _PLANE).to(sensitivities.dtype)

    def forward(self, image: Tensor) -> Tensor:
        """:math:`A x`: image, complex [B, 1, H, W], to sampled k-space, complex [B, C, H, W], 0 where not sampled."""
        return torch.fft.fftshift(self._measure(image), _PLANE)

    def adjoint(self, kspace: Tensor) -> Tensor:
        """:math:`A^H y`: k-space, complex [B, C, H, W], to the zero-filled image, complex [B, 1, H, W].

        What of the k-space the mask leaves out is not looked at.

        Raises:
            InputError: k-space of another shape than the sensitivities.
        """
        if kspace.shape != self._shape or not kspace.is_complex():
            raise InputError(
                f"k-space: expected complex {list(self._shape)} as the coil sensitivities, got {kspace.dtype} "
                f"{list(kspace.shape)}; give sensitivities of the same scan"
            )
        return self._combine(self._mask * torch.fft.ifftshift(kspace, _PLANE))

    def normal(self, image: Tensor) -> Tensor:
        """:math:`A^H A x`, complex [B, 1, H, W]; self-adjoint, its eigenvalues in [0, 1]."""
        return self._combine(self._measure(image))

    def _measure(self, image: Tensor) -> Tensor:
        coils = self._sensitivities * torch.fft.ifftshift(image, _PLANE)
        return self._mask * torch.fft.fft2(coils, norm="ortho")

    def _combine(self, kspace: Tensor) -> Tensor:
        coils = self._conjugates * torch.fft.ifft2(kspace, norm="ortho")
        return torch.fft.fftshift(coils.sum(1, keepdim=True), _PLANE)


def _check(sensitivities: Tensor, mask: Tensor) -> None:
    if sensitivities.dim() != 4 or not sensitivities.is_complex():
        raise InputError(
            "coil sensitivities: expected complex [batch, coils, height, width], got "
            f"{sensitivities.dtype} {list(sensitivities.shape)}; give one complex map a coil"
        )
    fits = mask.dim() == 4 and all(
        have in (1, want) for have, want in zip(mask.shape, sensitivities.shape, strict=True)
    )
    if not fits or mask.shape[2:] != sensitivities.shape[2:] or mask.is_complex():
        raise InputError(
            f"mask: expected 0 and 1 of [batch, 1, height, width] for sensitivities {list(sensitivities.shape)}, got "
            f"{mask.dtype} {list(mask.shape)}; give the mask of the same scan"
        )
