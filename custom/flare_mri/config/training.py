# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a job says about training: one place for every default."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from flare_mri.errors import InputError

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}
# RMSprop and Adam divide by the gradient down to ε = 1e-8: a loss scaled below it, and a rate scaled up as much, would
# make plain gradients of what they send, from which images can be rebuilt.
_LIMITS = {
    "lr": (0.0, 1.0),
    "task_loss_weight": (1e-3, 1e3),
    "contrastive_weight": (0.0, 1e4),
    "fedprox_mu": (0.0, 1e4),
}


@dataclass(frozen=True)
class TrainingSettings:
    """Training at every site of a job.

    Attributes:
        optimizer: ``rmsprop`` (FedMRI), ``adam`` (IOP-FL, with amsgrad) or ``sgd``; its state lasts over rounds.
        lr: learning rate.
        lr_step: rounds of the job after which the learning rate falls by `lr_gamma`; 0 keeps it constant.
        lr_gamma: that factor.
        local_epochs: epochs over the site's training slices in a round.
        contrastive_weight: β of FedMRI (eq. 5); 0 leaves the term out.
        task_loss_weight: λ of FedMRI, the weight of the task's own loss.
        fedprox_mu: μ of FedProx on the shared parameters; 0 leaves the term out.
        ema_decay: α of IOP-FL's personal trajectory; None keeps none.
        evaluate_every: rounds between validations (the last model is always evaluated).
        test_each_round: evaluate the test split too whenever the validation split is, for curves.
        seed: seed of the initial weights and of every site's shuffling.
    """

    optimizer: str = "rmsprop"
    lr: float = 3e-4
    lr_step: int = 20
    lr_gamma: float = 0.1
    local_epochs: int = 1
    contrastive_weight: float = 1.0
    task_loss_weight: float = 1.0
    fedprox_mu: float = 0.0
    ema_decay: float | None = None
    evaluate_every: int = 1
    test_each_round: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer {self.optimizer!r}: expected one of {', '.join(OPTIMIZERS)}")
        for name in ("lr", "lr_gamma", "task_loss_weight"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} = {getattr(self, name)!r}: expected a number above 0")
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} = {getattr(self, name)!r}: expected {low:g} to {high:g}")
        for name in ("contrastive_weight", "fedprox_mu", "lr_step", "seed"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} = {getattr(self, name)!r}: expected 0 or more")
        for name in ("local_epochs", "evaluate_every"):
            if not getattr(self, name) >= 1:
                raise InputError(f"{name} = {getattr(self, name)!r}: expected 1 or more")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay = {self.ema_decay!r}: expected 0 <= rate < 1, or none")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingSettings":
        """Build from a job's JSON; an unknown key is an error, not a silence."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"training setting {unknown[0]!r} is unknown: expected one of {', '.join(sorted(known))}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All settings, for the job's JSON and for results.json."""
        return asdict(self)

    def build_optimizer(self, network: torch.nn.Module) -> torch.optim.Optimizer:
        """The optimizer over every parameter of `network`."""
        extra = {"amsgrad": True} if self.optimizer == "adam" else {}
        return OPTIMIZERS[self.optimizer](network.parameters(), lr=self.lr, **extra)

    def lr_of_round(self, round_number: int) -> float:
        """The learning rate of a round of the job, the same at a site that joins in it as at one that was always there.

        By repeated products, as ``StepLR`` makes them: a power differs from them in the last bits.
        """
        lr = self.lr
        for _ in range(round_number // self.lr_step if self.lr_step else 0):
            lr *= self.lr_gamma
        return lr

    def seed_of_round(self, site: str, round_number: int) -> int:
        """The seed of a site's round, equal in every process (Python's own hash is salted)."""
        return int.from_bytes(hashlib.sha256(repr((self.seed, site, round_number)).encode()).digest()[:7], "big")
