# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site's training shared out among processes by PyTorch: each takes a part of every batch, the step is that of all.

In a process without a process group everything here changes nothing, to the bit.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler

from flare_mri.errors import InputError

LossOf = Callable[[nn.Module, dict[str, Any]], Tensor]


def process_count() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if process_count() > 1 else 0


class _Sum(torch.autograd.Function):
    """PyTorch's own differentiable sum (``torch.distributed.nn``) is deprecated, its successor private."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient.contiguous())


def sum_over_processes(value: Tensor) -> Tensor:
    r"""Sum of a tensor over all processes, which autograd goes through.

    Each process then has the same loss L of all samples, and its gradient is that of the sum of N equal losses: N times
    its samples' share of :math:`\nabla L`, whose mean over the processes, which DistributedDataParallel takes, is
    :math:`\nabla L`.
    """
    return _Sum.apply(value) if process_count() > 1 else value


def mean_over_processes(mean: Tensor, count: int) -> Tensor:
    """Mean over the samples of all processes of what is a mean over `count` samples here.

    Args:
        mean: a scalar.
        count: samples of this process, 1 or more.
    """
    if process_count() == 1:
        return mean
    total, samples = sum_over_processes(torch.stack([mean * count, mean.new_tensor(count)]))
    return total / samples


class ProcessShare(Sampler[list[int]]):
    """This process's part of every batch: each takes every N-th sample.

    Args:
        batches: places of the samples, the same in all processes.

    Raises:
        InputError: while iterating, a batch has fewer samples than there are processes.
    """

    def __init__(self, batches: Iterable[list[int]]):
        self._batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        rank, count = process_rank(), process_count()
        for batch in self._batches:
            if len(batch) < count:
                raise InputError(
                    f"processes: expected at most as many as samples in a batch, {len(batch)}, got {count}; lower it"
                )
            yield batch[rank::count]


class _Step(nn.Module):
    """Forward pass of a step, the loss in it: DistributedDataParallel has to see all that uses a parameter."""

    def __init__(self, network: nn.Module, loss_of: LossOf):
        super().__init__()
        self.network = network
        self._loss_of = loss_of

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """The loss of a batch, a scalar."""
        return self._loss_of(self.network, batch)


def share_gradients(network: nn.Module, loss_of: LossOf) -> Callable[[dict[str, Any]], Tensor]:
    """The loss of a batch whose backward pass leaves the mean gradient of all processes, the same in each.

    Args:
        network: on its device; which of its parameters want a gradient must not change afterwards.
        loss_of: the loss of the network and this process's part of a batch, of all processes' samples.
    """
    step = _Step(network, loss_of)
    if process_count() == 1:
        return step
    # A network may leave parameters out. Buffers are equal: no layer keeps statistics of one process's samples.
    return DistributedDataParallel(step, broadcast_buffers=False, find_unused_parameters=True)


class SynchronisedBatchNorm(_BatchNorm):
    r"""Batch normalisation by the mean and variance of the samples of all processes, as of one undivided batch.

    PyTorch's ``SyncBatchNorm`` computes on GPUs alone, where equal numbers could not be tested on any machine. Two sums
    are exchanged in the forward pass: of x, then of :math:`(x - \mu)^2`, which loses no digits.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalised [B, C, ...], of the input's type."""
        if not self.training:
            return super().forward(x)
        axes, shape = (0, *range(2, x.ndim)), (1, -1) + (1,) * (x.ndim - 2)
        values = x.float()
        sums = sum_over_processes(torch.cat([values.sum(axes), values.new_tensor([x.numel() / x.shape[1]])]))
        count, mean = sums[-1], sums[:-1] / sums[-1]
        centred = values - mean.view(shape)
        variance = sum_over_processes(centred.square().sum(axes)) / count
        self._follow(mean, variance * (count / (count - 1)))
        normalised = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as ``BatchNorm2d`` does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        part = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, part)
        self.running_var.lerp_(variance, part)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions."""


def synchronise_statistics(network: nn.Module) -> nn.Module:
    """Have a network's batch normalisation take its statistics over all processes; names and tensors stay.

    Raises:
        InputError: another layer keeps statistics of the samples that it sees.
    """
    for name, parent in list(network.named_modules()):
        if isinstance(parent, _InstanceNorm) and parent.track_running_stats:
            raise InputError(
                f"processes: expected a network without running statistics of instances, got {type(parent).__name__} "
                f"({name}); set processes: 1 in site.yaml, or leave its track_running_stats out"
            )
        for key, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                shared = SynchronisedBatchNorm(
                    child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
                )
                shared._parameters, shared._buffers = child._parameters, child._buffers
                setattr(parent, key, shared)
    return network
