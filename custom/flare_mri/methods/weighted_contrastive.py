# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI's weighted contrastive term: its value and its exact gradient, without autograd."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from flare_mri.errors import InputError

# Elements of all references handled at once. On a CPU the working set stays in cache, and threads meet rarely enough.
CPU_CHUNK = 2**19
GPU_CHUNK = 2**25


class WeightedContrastive:
    r"""Keeps the local encoder near the global one and away from the other sites' last ones.

    With the site's encoder :math:`\theta`, the global encoder :math:`\theta_G` and the encoders :math:`\theta_j` that
    the sites returned in the round before (Feng et al., arXiv 2112.05752):

    .. math::
        L = \frac{P}{N}, \qquad P = \|\theta - \theta_G\|_1, \qquad
        N = \sum_j \|\theta - \theta_j\|_1 + \varepsilon, \qquad
        \nabla L = \frac{N \, \mathrm{sign}(\theta - \theta_G) - P \sum_j \mathrm{sign}(\theta - \theta_j)}{N^2}

    The gradient of each :math:`|\cdot|` at 0 is 0. The term is bound by memory traffic, so every pass works on chunks
    that stay in cache: one pass reads :math:`\theta` and all references, sums the distances and leaves the signs as
    small integers; a second one turns the signs into the gradient.

    Args:
        reference: the tensors of :math:`\theta_G`: the encoder's parameters (not its buffers), in a fixed order.
        negatives: for every :math:`\theta_j` the same tensors in the same order, on any device, of any float type.
        eps: :math:`\varepsilon` > 0.

    All are copied to ``reference``'s device; one object serves all steps of a round.

    Raises:
        InputError: no negatives, or one whose shapes are not the reference's.

    Example:
        >>> term = WeightedContrastive([torch.zeros(2)], [[torch.full((2,), 3.0)]])
        >>> term.value([torch.ones(2)])
        tensor(0.5000)
    """

    def __init__(self, reference: Sequence[Tensor], negatives: Sequence[Sequence[Tensor]], eps: float = 1e-14):
        if not reference or not negatives:
            raise InputError(
                f"contrastive term: expected a reference and at least one negative, got {len(reference)} reference "
                f"tensors and {len(negatives)} negatives; leave the term out where there are none (the first round)"
            )
        self._shapes = [tensor.shape for tensor in reference]
        for index, negative in enumerate(negatives):
            self._check(negative, f"negative {index}")
        self._eps = eps
        self._rows = 1 + len(negatives)
        device, dtype = reference[0].device, torch.promote_types(reference[0].dtype, torch.float32)
        numel = sum(shape.numel() for shape in self._shapes)
        self._chunk = max((CPU_CHUNK if device.type == "cpu" else GPU_CHUNK) // self._rows, 1)
        self._references = torch.empty(self._rows, numel, dtype=dtype, device=device)
        for row, tensors in zip(self._references, (reference, *negatives), strict=True):
            for tensor, piece in zip(tensors, row.split([shape.numel() for shape in self._shapes]), strict=True):
                piece.copy_(tensor.detach().reshape(-1))
        # Row 0: the sign against the reference; row 1: the sum of the signs against the negatives.
        self._signs = torch.empty(2, numel, dtype=torch.int8 if len(negatives) < 128 else torch.int16, device=device)
        self._difference, self._sign = torch.empty(2, self._rows * self._chunk, dtype=dtype, device=device)

    def value(self, parameters: Sequence[Tensor]) -> Tensor:
        """P / N of ``parameters`` (in the order of ``reference``) as a 0-dim tensor without gradient."""
        positive, negative = self._measure(parameters)
        return self._references.new_tensor(positive / negative)

    @torch.no_grad()
    def add_gradient_(self, parameters: Sequence[Tensor], weight: float) -> Tensor:
        """Add ``weight`` times the exact gradient to every ``parameter.grad`` in place; call it after ``backward()``.

        Args:
            parameters: as in :meth:`value`; one without a gradient is given one.
            weight: the paper's beta.

        Returns:
            The value P / N (without ``weight``), a 0-dim tensor.

        Raises:
            InputError: the parameters' shapes are not the reference's.
        """
        positive, negative = self._measure(parameters)
        ratio, scale = positive / negative, weight / negative
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = [gradient.reshape(-1) for gradient in gradients]
        for piece, place in self._pieces(flat):
            direction = self._difference[: piece.numel()].copy_(self._signs[0, place])
            away = self._sign[: piece.numel()].copy_(self._signs[1, place])
            piece.add_(direction.sub_(away, alpha=ratio), alpha=scale)
        for gradient, changed in zip(gradients, flat, strict=True):
            if not gradient.is_contiguous():  # channels_last: reshape made a copy
                gradient.copy_(changed.view_as(gradient))
        return self._references.new_tensor(ratio)

    @torch.no_grad()
    def _measure(self, parameters: Sequence[Tensor]) -> tuple[float, float]:
        """P and N of the class's equation; leaves the signs in ``self._signs``."""
        self._check(parameters, "parameters")
        positive, negative = [], []
        for theta, place in self._pieces([parameter.reshape(-1) for parameter in parameters]):
            size = self._rows * theta.numel()
            difference = self._difference[:size].view(self._rows, theta.numel())
            sign = self._sign[:size].view(self._rows, theta.numel())
            torch.sub(theta, self._references[:, place], out=difference)
            torch.sign(difference, out=sign)
            # Pairwise summation: an L1 norm is several times slower, and a dot product with the signs loses five digits
            # on processors whose BLAS adds one after the other.
            distances = torch.abs(difference, out=difference).sum(dim=1)
            positive.append(distances[0])
            negative.append(distances[1:].sum())
            self._signs[0, place] = sign[0]
            self._signs[1, place] = torch.sum(sign[1:], dim=0, out=difference[0])
        sums = torch.stack([torch.stack(positive), torch.stack(negative)]).sum(dim=1, dtype=torch.float64)
        near, far = sums.tolist()  # the one wait for the device
        return near, far + self._eps

    def _pieces(self, flat: Sequence[Tensor]) -> Iterator[tuple[Tensor, slice]]:
        """Cut flat tensors into views of at most a chunk, each with its place in the references and signs."""
        start = 0
        for tensor in flat:
            for piece in tensor.split(self._chunk):
                yield piece, slice(start, start + piece.numel())
                start += piece.numel()

    def _check(self, tensors: Sequence[Tensor], name: str) -> None:
        shapes = [tensor.shape for tensor in tensors]
        if shapes != self._shapes:
            raise InputError(
                f"contrastive term, {name}: expected the reference's shapes {[tuple(s) for s in self._shapes]}, "
                f"got {[tuple(s) for s in shapes]}; give the same parameters in the same order"
            )
