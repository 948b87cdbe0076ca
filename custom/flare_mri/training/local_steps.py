# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Epochs and steps of a round at a site."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flare_mri.training.data_parallel import process_rank, share_gradients
from flare_mri.training.precision import autocast
from flare_mri.training.task import Abort, AbortedError, on_device, training_loader

if TYPE_CHECKING:
    from flare_mri.methods.base import SiteHooks
    from flare_mri.training.learner import Learner


def fit(
    learner: "Learner",
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    round_number: int,
    hooks: "SiteHooks",
    abort: Abort,
) -> list[Tensor]:
    """The epochs of a round with any network of the job; returns the loss of every step.

    Rate, seeds and order of the slices are the round's: two networks see the same batches in the same order.

    Args:
        learner: whose task, settings and privacy hold.
        network: on the task's device.
        optimizer: of its parameters.
        round_number: of the job, from 0.
        hooks: of which epochs, begin_epoch, loss and after_backward are used.
        abort: asked before every step; True ends training.

    Raises:
        AbortedError: `abort` said so.
    """
    settings, private = learner.settings, learner.private
    for group in optimizer.param_groups:
        group["lr"] = settings.lr_of_round(round_number)
    seed = settings.seed_of_round(learner.task.site, round_number)
    if private is None:
        torch.manual_seed(seed + process_rank())  # dropout draws for each process's samples anew
    losses: list[Tensor] = []
    for epoch in range(hooks.epochs(settings)):
        network.train()
        hooks.begin_epoch(learner, epoch)
        differentiate = _differentiator(learner, network, optimizer, hooks)
        for batch in private.batches() if private else training_loader(learner.task, seed + epoch):
            if abort():
                raise AbortedError(f"site {learner.task.site}: aborted in round {round_number}")
            optimizer.zero_grad()
            losses.append(differentiate(batch))
            hooks.after_backward(learner, len(losses) - 1)
            if settings.max_grad_norm:
                nn.utils.clip_grad_norm_(network.parameters(), settings.max_grad_norm)
            optimizer.step()
            if learner.average is not None and network is learner.network:
                learner.average.update(network)
    return losses


def _differentiator(
    learner: "Learner", network: nn.Module, optimizer: torch.optim.Optimizer, hooks: "SiteHooks"
) -> Any:
    """What puts the gradient of a step into the parameters' `grad` and gives its loss, for an epoch.

    With privacy the method's term, which sees no image, is added after the noise.
    """

    def task_loss(network: nn.Module, batch: dict[str, Any]) -> Tensor:
        with autocast(learner.task.device, learner.settings.precision):
            return learner.settings.task_loss_weight * learner.task.loss(network, batch)

    def loss_of(network: nn.Module, batch: dict[str, Any]) -> Tensor:
        loss, term = task_loss(network, batch), hooks.loss(learner)
        return loss if term is None else loss + term

    def differentiate_privately(samples: Any) -> Tensor:
        assert learner.private is not None
        loss = learner.private.differentiate(network, optimizer, samples, task_loss)
        if (term := hooks.loss(learner)) is not None:
            term.backward()
        return loss

    if learner.private is not None:
        return differentiate_privately
    step = share_gradients(network, loss_of)

    def differentiate(batch: dict[str, Any]) -> Tensor:
        loss = step(on_device(batch, learner.task.device))
        loss.backward()
        return loss.detach()

    return differentiate
