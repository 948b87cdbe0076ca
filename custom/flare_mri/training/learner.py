# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Local training in a round: plain PyTorch, no FLARE."""

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flare_mri.config.training import TrainingSettings
from flare_mri.errors import InputError
from flare_mri.networks.differences import ErrorFeedback
from flare_mri.networks.state_check import check_private_state, norm_of, not_finite, problem_in_state
from flare_mri.training.local_steps import fit
from flare_mri.training.optimizer import build_optimizer
from flare_mri.training.private_steps import PrivateSteps, check_network
from flare_mri.training.task import Abort, Task
from flare_mri.training.weight_average import WeightAverage

if TYPE_CHECKING:
    from flare_mri.methods.base import SiteHooks

MOST_NORMS = 100
"""Largest ratio of a received model's norm to a site's own: the bound that the server has for updates."""

State = dict[str, Tensor]


@dataclass(frozen=True)
class RoundReport:
    """Report of a round's local training: mean loss over steps, slices in the training split, seconds."""

    loss: float
    slices: int
    seconds: float


class Learner:
    """Trains a network of which a part is shared with the federation and the rest is private to the site.

    With all parameters shared this is FedAvg, with none local training; what a method does besides it does by its
    hooks (:class:`flare_mri.methods.SiteHooks`).

    Args:
        network: the whole network, with its initial weights.
        shared: state-dict keys of the shared part (:func:`flare_mri.networks.shared_keys`).
        task: data, loss and metrics of the site.
        settings: what the job says about training.
        hooks: the method's part at the site.
        update_dtype: how its updates travel, see :mod:`flare_mri.networks.differences`.
        private: steps with differential privacy, where the job asks for it.

    Raises:
        InputError: the method cannot work with this network and shared part, or the network cannot be trained with
            differential privacy.

    Attributes:
        average: of its weights over the steps, where the job asks for one.
        feedback: compresses what the site returns, and keeps what rounding took away.
        previous: the shared parameters that the site returned last; None before its first round.
        best: round, validation and whole state of the network that was best in validation.
    """

    def __init__(
        self,
        network: nn.Module,
        shared: Sequence[str],
        task: Task,
        settings: TrainingSettings,
        hooks: "SiteHooks",
        update_dtype: str = "float32",
        private: PrivateSteps | None = None,
    ):
        if settings.private != (private is not None):
            raise ValueError("private: expected where the settings ask for differential privacy, and nowhere else")
        if private is not None:
            check_network(network, f"site {task.site}")
        self.private = private
        self.network = network.to(task.device)
        self.task = task
        self.settings = settings
        self.shared = list(shared)
        self.hooks = hooks
        self._optimizer = build_optimizer(settings, network)
        self._initial_norm = norm_of(network.parameters())
        self.average = WeightAverage(network, settings.weight_average) if settings.weight_average else None
        self.feedback = ErrorFeedback(update_dtype)
        self.previous: State | None = None
        self.best: dict[str, Any] | None = None
        hooks.check(self)

    @property
    def shared_parameters(self) -> list[str]:
        """Keys of shared *parameters*, without buffers."""
        keys = set(self.shared)
        return [name for name, _ in self.network.named_parameters() if name in keys]

    def shared_state(self) -> State:
        """The shared part, on the CPU, in plain order in memory."""
        state = self.network.state_dict()
        return {key: _plain(state[key]) for key in self.shared}

    def update(self) -> State:
        """All tensors that a site returns after a round: the shared part and the method's further tensors."""
        return self.shared_state() | {key: value.contiguous() for key, value in self.hooks.extra().items()}

    def receive(self, received: Mapping[str, Tensor]) -> None:
        """Load the global shared part, once it is one; the private part stays as it is.

        Args:
            received: the shared part and the method's further tensors, see :meth:`SiteHooks.extra_like`.

        Raises:
            InputError: keys, shapes or types differ from the shared part of this site's network, values are not finite,
                or its parameters' norm is more than :data:`MOST_NORMS` times that of the network's initial weights and
                of what this site last returned. Nothing was loaded.
        """
        own = self.network.state_dict()
        expected = {key: own[key] for key in self.shared} | self.hooks.extra_like(self)
        problem = problem_in_state(expected, received)
        if problem:
            raise InputError(f"site {self.task.site}: global model does not fit this site's network: {problem}")
        norm = norm_of(received[key] for key in self.shared_parameters)
        own_norm = max(self._initial_norm, norm_of((self.previous or {}).values()))
        if norm > MOST_NORMS * own_norm:
            raise InputError(
                f"site {self.task.site}: global model has parameters of norm {norm:.3g}, expected at most {MOST_NORMS} "
                f"times this site's {own_norm:.3g}; it is not loaded, ask the consortium's lead what the server sends"
            )
        self.network.load_state_dict({key: received[key] for key in self.shared}, strict=False)

    def train(self, received: Mapping[str, Tensor], round_number: int, abort: Abort = lambda: False) -> RoundReport:
        r"""Train one round from the global shared part.

        Args:
            received: as :meth:`receive` takes it.
            round_number: of the job, from 0: it sets the learning rate, and with the seed and the site's name the order
                of slices.
            abort: as in :func:`~flare_mri.training.local_steps.fit`.

        Raises:
            BudgetSpentError: the round costs more privacy than is left. The global shared part is loaded, nothing else
                has changed.
            AbortedError: `abort` said so. The learner's state is then worthless; restore it from the store.
            InputError: as :meth:`receive`; or the loss or the trained network is no longer finite.
        """
        started = time.monotonic()
        self.receive(received)
        if self.private is not None:
            self.private.begin_round()
        self.hooks.begin_round(self, received, round_number)
        losses = fit(self, self.network, self._optimizer, round_number, self.hooks, abort)
        self.hooks.end_round(self, round_number, abort)
        state = self.shared_state()
        self.previous = {key: state[key] for key in self.shared_parameters}
        loss = float(torch.stack(losses).mean())
        bad = "" if math.isfinite(loss) else f"training loss is {loss}"
        if where := not_finite(self.network.state_dict()):  # the last step's, which no loss tells of
            bad = bad or f"{where} is not finite"
        if bad:
            raise InputError(f"site {self.task.site}: {bad} after round {round_number}; lower the learning rate")
        slices = len(self.task.dataset("train"))  # type: ignore[arg-type]
        return RoundReport(loss, slices, time.monotonic() - started)

    def consider_best(self, validation: Mapping[str, float], round_number: int) -> bool:
        """Keep the present network as the site's personal model if its validation is the best so far, and a number."""
        score = validation[self.task.key_metric]
        if not math.isfinite(score):  # NaN is not below any score either
            return False
        if self.best is not None and score <= self.best["validation"][self.task.key_metric]:
            return False
        network = {key: _plain(value) for key, value in self.network.state_dict().items()}
        self.best = {"round": round_number, "validation": dict(validation), "network": network}
        return True

    def network_with(self, state: Mapping[str, Tensor]) -> nn.Module:
        """A copy of the network with the given full state (the best or the personal model)."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(state)
        return network

    def personal(self) -> State | None:
        """State of the site's personal model where that is not the network itself: the method's, or the average."""
        state = self.hooks.personal()
        if state is None and self.average is not None:
            state = self.average.network_state()
        return None if state is None else {key: value.contiguous() for key, value in state.items()}

    def private_state(self) -> dict[str, Any]:
        """All that must survive this process and never leave the site, for ``torch.load(weights_only=True)``."""
        return {
            "data": self.task.fingerprint(),
            "network": {k: v.cpu() for k, v in self.network.state_dict().items() if k not in self.shared},
            "optimizer": self._optimizer.state_dict(),
            "previous": self.previous,
            "best": self.best,
            "average": None if self.average is None else self.average.state(),
            "left_over": self.feedback.left_over,
            "method": self.hooks.state(),
        }

    def restore(self, state: Mapping[str, Any], round_number: int) -> None:
        """Take up what :meth:`private_state` gave after a round.

        Raises:
            InputError: the state belongs to other data or another split, to another network or shared_layers.
        """
        if not {"method", "average", "left_over"} <= state.keys():
            raise InputError(
                f"site {self.task.site}: private state of round {round_number}: expected this version's, got an "
                "earlier one's; start the job under another name"
            )
        if state["data"] != self.task.fingerprint():
            raise InputError(
                f"site {self.task.site}: data or split differ from those of round {round_number} of this run (a "
                "patient may have moved from training to test); put the data back, or start the job under another name"
            )
        own = {k: v for k, v in self.network.state_dict().items() if k not in self.shared}
        check_private_state(self.task.site, "network", own, state["network"])
        self.network.load_state_dict(state["network"], strict=False)
        self._optimizer.load_state_dict(state["optimizer"])
        self.previous, self.best = state["previous"], state["best"]
        self.feedback.left_over = dict(state["left_over"])
        if self.average is not None:
            self.average.restore(state["average"] or {}, self.task.site)
        self.hooks.restore(state["method"], self)


def _plain(value: Tensor) -> Tensor:
    """A copy on the CPU, its axes one after the other in memory."""
    return value.detach().to("cpu", copy=True).contiguous()
