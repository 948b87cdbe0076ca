# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The optimizer that a job names."""

from collections.abc import Callable

from torch import nn, optim

from flare_mri.config.training import TrainingSettings

_CLASSES: dict[str, Callable[..., optim.Optimizer]] = {
    "rmsprop": optim.RMSprop,
    "adam": optim.Adam,
    "sgd": optim.SGD,
}


def build_optimizer(settings: TrainingSettings, network: nn.Module) -> optim.Optimizer:
    """The optimizer over every parameter of `network`; Adam's is AMSGrad, as IOP-FL has it."""
    extra = {"amsgrad": True} if settings.optimizer == "adam" else {}
    return _CLASSES[settings.optimizer](network.parameters(), lr=settings.lr, **extra)
