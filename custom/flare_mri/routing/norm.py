# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""BatchNorm of a routed network: the statistics of the batch in every mode, of each view of it apart.

IOP-FL's loss sees every batch twice, as it is and changed. Both views go through the network in one pass, in which the
experts are read once, yet each is normalised as if it had come alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from flare_mri.errors import InputError


class BatchStatisticsNorm(_BatchNorm):
    """BatchNorm without running statistics, whose batch may hold several views of as many images.

    Args:
        norm: the layer to stand for; its affine parameters are taken over, its running statistics left.

    Attributes:
        views: V, sample b * V + v of a batch is view v of image b.
        samples: B * V where V > 1: a network that folds pixels into the batch would tear the views apart.
    """

    def __init__(self, norm: _BatchNorm):
        super().__init__(norm.num_features, norm.eps, affine=False, track_running_stats=False)
        self.weight, self.bias = norm.weight, norm.bias
        self.views, self.samples = 1, 0

    def forward(self, x: Tensor) -> Tensor:
        """[B * V, C, ...] -> the same shape. Side by side, views are so many more channels: no copy is needed."""
        if self.views > 1 and len(x) != self.samples:
            raise InputError(
                f"{self.views} views in one pass: expected {self.samples} samples at a BatchNorm layer, got {len(x)}; "
                "choose a network that does not fold pixels into the batch"
            )
        side_by_side = x.reshape(len(x) // self.views, self.views * x.shape[1], *x.shape[2:])
        weight, bias = (None if p is None else p.repeat(self.views) for p in (self.weight, self.bias))
        return F.batch_norm(side_by_side, None, None, weight, bias, training=True, eps=self.eps).view_as(x)


def use_batch_statistics(network: nn.Module) -> nn.Module:
    """``network`` with every BatchNorm layer below it, or itself, replaced by a :class:`BatchStatisticsNorm`."""
    modules = list(network.modules())
    norms: dict[nn.Module | None, nn.Module] = {
        module: BatchStatisticsNorm(module) for module in modules if isinstance(module, _BatchNorm)
    }
    for module in modules:
        for name, child in module._modules.items():  # named_children would leave out a layer's second name
            if child in norms:
                module._modules[name] = norms[child]
    return norms.get(network, network)


def forward_views(network: nn.Module, *views: Tensor) -> tuple[Tensor, ...]:
    """``network`` on several views of the same images, in one pass.

    Args:
        network: of :func:`use_batch_statistics`; otherwise without layers in which samples meet.
        views: each [B, C, H, W] or, of volumes, [B, C, D, H, W].

    Returns:
        For each view what the network would have given for it alone (up to rounding and dropout).

    Raises:
        InputError: the network has a BatchNorm layer that would mix the statistics of the views.
    """
    norms = [_check_norm(module) for module in network.modules() if isinstance(module, _BatchNorm)]
    try:
        for norm in norms:
            norm.views, norm.samples = len(views), sum(map(len, views))
        outputs: Tensor = network(torch.stack(views, dim=1).flatten(0, 1))
    finally:
        for norm in norms:
            norm.views = 1
    return outputs.unflatten(0, (-1, len(views))).unbind(1)


def _check_norm(norm: _BatchNorm) -> BatchStatisticsNorm:
    if not isinstance(norm, BatchStatisticsNorm):
        raise InputError(
            f"views in one pass: expected a network with BatchStatisticsNorm, got {type(norm).__name__}, which would "
            "mix the views' statistics; call use_batch_statistics first"
        )
    return norm
