# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Self-supervision: a loss of undersampled k-space alone (SSDU; Yaman et al., MRM 2020, 10.1002/mrm.28378)."""

from typing import Any

import torch
from torch import Tensor, nn

from flare_mri.errors import InputError
from flare_mri.networks.unrolled import UnrolledNetwork
from flare_mri.physics.operator import SenseOperator

SSDU = "ssdu"
SHARE = 0.4
"""Of the samples that the loss holds out, the paper's best."""
_CENTRE = 4
_WIDTH = 0.25


def split_samples(
    mask: Tensor, share: float = SHARE, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    r"""Divide the sampled points at random into those that the network sees and those that its result is held to.

    Points are held out with Gaussian weight around the centre, as in the paper, of standard deviation a quarter of the
    size; the innermost 4x4 are always seen.

    Args:
        mask: bool or 0/1 [B, 1, H, W].
        share: of the sampled points that are held out, 0 to 1.
        generator: to draw with, of the mask's device; None: PyTorch's global one, which a round seeds.

    Returns:
        :math:`\Theta` and :math:`\Lambda`, bool [B, 1, H, W]: disjoint, together the mask.

    Raises:
        InputError: a mask has too few points outside the centre.
    """
    sampled = mask > 0
    height, width = mask.shape[-2:]
    down = (torch.arange(height, device=mask.device) - height // 2)[:, None] / height
    across = (torch.arange(width, device=mask.device) - width // 2)[None] / width
    weights = torch.exp(-(down**2 + across**2) / (2 * _WIDTH**2))
    half = _CENTRE // 2
    weights[height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half] = 0
    held_out = torch.zeros_like(sampled)
    for sample, points in enumerate(sampled):
        possible = (weights * points[0]).flatten()
        count = round(share * int(points.sum()))
        if not 0 < count <= int((possible > 0).sum()):
            raise InputError(f"mask: expected samples outside the innermost {_CENTRE}x{_CENTRE} for ssdu, got too few")
        held_out[sample].view(-1)[torch.multinomial(possible, count, generator=generator)] = True
    return sampled & ~held_out, held_out


def ssdu_loss(network: nn.Module, batch: dict[str, Any]) -> Tensor:
    r"""The loss of a network that sees a part of the samples and is held to the rest.

    .. math::
        \tfrac12 \frac{\|y_\Lambda - A_\Lambda x\|_2}{\|y_\Lambda\|_2}
        + \tfrac12 \frac{\|y_\Lambda - A_\Lambda x\|_1}{\|y_\Lambda\|_1}, \qquad x = f(y_\Theta)

    Of the fully sampled image nothing is used.

    Args:
        network: an :class:`UnrolledNetwork`, whose last complex image is :math:`x`.
        batch: with `kspace`, `mask` and, where the network does not find them itself, `sensitivities`.

    Returns:
        The mean over the batch.

    Raises:
        InputError: another network, or a mask as in :func:`split_samples`.
    """
    if not isinstance(network, UnrolledNetwork):
        raise InputError(
            f"loss {SSDU}: expected UnrolledNetwork, whose result is a complex image, got {type(network).__name__}; "
            "choose it, or another loss"
        )
    kspace = batch["kspace"]
    seen, held_out = split_samples(batch["mask"])
    maps = network.find_sensitivities(kspace * seen, seen, batch.get("sensitivities"))
    predicted = SenseOperator(maps, held_out).forward(network.run_cascades(kspace, seen, maps)[-1])
    measured = (kspace * held_out).flatten(1)
    difference = predicted.flatten(1) - measured
    norms = [torch.linalg.vector_norm(difference, p, 1) / torch.linalg.vector_norm(measured, p, 1) for p in (2, 1)]
    return (sum(norms) / 2).mean()
