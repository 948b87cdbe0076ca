# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The personal trajectory of IOP-FL (arXiv 2204.08467, eq. 2)."""

from collections.abc import Mapping

import torch
from torch import Tensor


@torch.no_grad()
def advance(trajectory: Mapping[str, Tensor] | None, local: Mapping[str, Tensor], rate: float) -> dict[str, Tensor]:
    r"""One step of the accumulated trajectory, :math:`p \leftarrow \alpha p + (1 - \alpha) \theta_{local}`.

    Args:
        trajectory: p of the round before, None in the first round, where p is a copy of the local model.
        local: state dict of the locally trained network.
        rate: α, 0 <= α < 1; 0 is the last local model.

    Returns:
        The new trajectory, sharing no memory with `local`. Integer buffers (BatchNorm's ``num_batches_tracked``) are
        taken from the local model, since a mean of counts means nothing.
    """
    if trajectory is None:
        return {key: value.detach().clone() for key, value in local.items()}
    return {
        key: torch.lerp(value, trajectory[key].to(value.device), rate) if value.is_floating_point() else value.clone()
        for key, value in ((k, v.detach()) for k, v in local.items())
    }
