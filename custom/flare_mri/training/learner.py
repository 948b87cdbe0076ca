# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a hospital does in a round: plain PyTorch, no FLARE."""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from flare_mri.config.training import TrainingSettings
from flare_mri.errors import InputError
from flare_mri.networks.state_check import norm_of, not_finite, problem_in_state
from flare_mri.training.task import Abort, Task, check_trains, on_device, training_loader
from flare_mri.training.trajectory import advance
from flare_mri.training.weighted_contrastive import WeightedContrastive

MOST_NORMS = 100
"""How many times larger than a site's own a received model may be: the bound that the server has for updates."""

State = dict[str, Tensor]
Proximal = Callable[[nn.Module, nn.Module], Tensor]


class AbortedError(Exception):
    """The job was aborted while the site was training."""


@dataclass(frozen=True)
class RoundReport:
    """What local training of one round did: mean loss over steps, slices in the training split, seconds."""

    loss: float
    slices: int
    seconds: float


class Learner:
    """Trains a network of which a part is shared with the federation and the rest is private to the site.

    With all parameters shared this is FedAvg, with none local training, with the encoder and a contrastive weight
    above 0 FedMRI (arXiv 2112.05752, eq. 5), with a trajectory rate the inside of IOP-FL (arXiv 2204.08467, eq. 2).

    Args:
        network: the whole network, with its initial weights.
        shared: state-dict keys of the shared part (:func:`flare_mri.networks.shared_keys`).
        task: data, loss and metrics of the site.
        settings: what the job says about training.
        proximal: FedProx's term as a function of the network and the received one, added to the loss.
    """

    def __init__(
        self,
        network: nn.Module,
        shared: Sequence[str],
        task: Task,
        settings: TrainingSettings,
        proximal: Proximal | None = None,
    ):
        self.network = network.to(task.device)
        self.task = task
        self.settings = settings
        self.shared = list(shared)
        self._proximal = proximal
        self._optimizer = settings.build_optimizer(network)
        self._initial_norm = norm_of(network.parameters())
        self._previous: State | None = None
        self.trajectory: State | None = None
        self.best: dict[str, Any] | None = None

    @property
    def shared_parameters(self) -> list[str]:
        """Keys of shared *parameters*; buffers take no part in the contrastive term."""
        keys = set(self.shared)
        return [name for name, _ in self.network.named_parameters() if name in keys]

    def shared_state(self) -> State:
        """The shared part, on the CPU: all that a site returns."""
        state = self.network.state_dict()
        return {key: state[key].detach().cpu().clone() for key in self.shared}

    def try_out(self) -> None:
        """Run a copy of the network, in both modes, on a batch: what does not fit is found before a round.

        Raises:
            InputError: the site has no training slice, or the network cannot take its images.
        """
        count = min(check_trains(self.task), self.task.batch_size)
        batch = default_collate([self.task.dataset("train")[place] for place in range(count)])
        trial = copy.deepcopy(self.network)
        try:
            with torch.no_grad():
                for training in (True, False):
                    self.task.loss(trial.train(training), on_device(batch, self.task.device))
        except Exception as e:  # whatever a foreign network raises, the images did not suit it
            told = " ".join(str(e).split())
            raise InputError(f"site {self.task.site}: the job's network cannot take this site's images: {told}") from e

    def receive(self, shared_state: Mapping[str, Tensor]) -> None:
        """Load the global shared part, once it is one; the private part stays as it is.

        Raises:
            InputError: keys, shapes or types differ from the shared part of this site's network, values are not finite,
                or its parameters' norm is more than :data:`MOST_NORMS` times that of the network's initial weights and
                of what this site last returned. Nothing was loaded.
        """
        own = self.network.state_dict()
        problem = problem_in_state({key: own[key] for key in self.shared}, shared_state)
        if problem:
            raise InputError(f"site {self.task.site}: global model does not fit this site's network: {problem}")
        norm, own_norm = norm_of(shared_state[key] for key in self.shared_parameters), self._own_norm()
        if norm > MOST_NORMS * own_norm:
            raise InputError(
                f"site {self.task.site}: global model has parameters of norm {norm:.3g}, expected at most {MOST_NORMS} "
                f"times this site's {own_norm:.3g}; it is not loaded, ask the consortium's lead what the server sends"
            )
        self.network.load_state_dict(shared_state, strict=False)

    def _own_norm(self) -> float:
        return max(self._initial_norm, norm_of((self._previous or {}).values()))

    def train(
        self,
        shared_state: Mapping[str, Tensor],
        negatives: Sequence[Mapping[str, Tensor]],
        round_number: int,
        abort: Abort = lambda: False,
    ) -> RoundReport:
        r"""Train one round from the global shared part.

        Minimises :math:`\lambda L + \beta \|\theta - \theta_G\|_1 / (\sum_j \|\theta - \theta_j\|_1 + \epsilon)`, the
        second term from the second round on and not on a round's first step, where :math:`\theta = \theta_G`.

        Args:
            shared_state: θ_G, the global shared part.
            negatives: {θ_j}, shared parameters that sites returned in the round before; empty in the first round.
            round_number: of the job, from 0: it sets the learning rate, and with the seed and the site's name the order
                of slices.
            abort: asked after every step; True ends training.

        Raises:
            AbortedError: `abort` said so. The learner's state is then worthless; restore it from the store.
            InputError: as :meth:`receive`; or the loss or the trained network is no longer finite.
        """
        started = time.monotonic()
        self.receive(shared_state)
        received = copy.deepcopy(self.network) if self._proximal else None
        term = self._contrastive(shared_state, negatives)
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.lr_of_round(round_number)
        seed = self.settings.seed_of_round(self.task.site, round_number)
        torch.manual_seed(seed)
        self.network.train()
        losses: list[Tensor] = []
        for epoch in range(self.settings.local_epochs):
            for batch in training_loader(self.task, seed + epoch):
                if abort():
                    raise AbortedError(f"site {self.task.site}: aborted in round {round_number}")
                losses.append(self._step(on_device(batch, self.task.device), received, term if losses else None))
        self._finish_round()
        loss = float(torch.stack(losses).mean())
        bad = "" if math.isfinite(loss) else f"training loss is {loss}"
        if where := not_finite(self.network.state_dict()):  # the last step's, which no loss tells of
            bad = bad or f"{where} is not finite"
        if bad:
            raise InputError(f"site {self.task.site}: {bad} after round {round_number}; lower the learning rate")
        slices = len(self.task.dataset("train"))  # type: ignore[arg-type]
        return RoundReport(loss, slices, time.monotonic() - started)

    def _step(self, batch: dict[str, Any], received: nn.Module | None, term: WeightedContrastive | None) -> Tensor:
        self._optimizer.zero_grad()
        loss = self.settings.task_loss_weight * self.task.loss(self.network, batch)
        if self._proximal is not None and received is not None:
            loss = loss + self._proximal(self.network, received)
        loss.backward()
        if term is not None:
            parameters = dict(self.network.named_parameters())
            term.add_gradient_([parameters[k] for k in self.shared_parameters], self.settings.contrastive_weight)
        self._optimizer.step()
        return loss.detach()

    def _contrastive(
        self, shared_state: Mapping[str, Tensor], negatives: Sequence[Mapping[str, Tensor]]
    ) -> WeightedContrastive | None:
        keys = self.shared_parameters
        if not self.settings.contrastive_weight or not negatives or not keys:
            return None
        device = self.task.device
        reference = [shared_state[k].to(device) for k in keys]
        return WeightedContrastive(reference, [[n[k].to(device) for k in keys] for n in negatives])

    def _finish_round(self) -> None:
        state = self.shared_state()
        self._previous = {key: state[key] for key in self.shared_parameters}
        if self.settings.ema_decay is not None:
            self.trajectory = advance(self.trajectory, self.network.state_dict(), self.settings.ema_decay)

    def own_negatives(self) -> list[State]:
        """The site's own shared parameters of the round before: the negatives when sites see none of each other's."""
        return [] if self._previous is None else [self._previous]

    def consider_best(self, validation: Mapping[str, float], round_number: int) -> bool:
        """Keep the present network as the site's personal model if its validation is the best so far, and a number."""
        score = validation[self.task.key_metric]
        if not math.isfinite(score):  # NaN is not below any score either
            return False
        if self.best is not None and score <= self.best["validation"][self.task.key_metric]:
            return False
        network = {key: value.detach().cpu().clone() for key, value in self.network.state_dict().items()}
        self.best = {"round": round_number, "validation": dict(validation), "network": network}
        return True

    def network_with(self, state: Mapping[str, Tensor]) -> nn.Module:
        """A copy of the network with the given full state (the best or the trajectory's model)."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(state)
        return network

    def private_state(self) -> dict[str, Any]:
        """What must survive this process and never leave the site; readable by ``torch.load(weights_only=True)``."""
        keys = set(self.shared)
        return {
            "data": self.task.fingerprint(),
            "network": {k: v.cpu() for k, v in self.network.state_dict().items() if k not in keys},
            "optimizer": self._optimizer.state_dict(),
            "previous": self._previous,
            "trajectory": self.trajectory,
            "best": self.best,
        }

    def restore(self, state: Mapping[str, Any], round_number: int) -> None:
        """Take up what :meth:`private_state` gave after a round.

        Raises:
            InputError: the state belongs to other data or another split, to another network or shared_layers.
        """
        if state["data"] != self.task.fingerprint():
            raise InputError(
                f"site {self.task.site}: data or split differ from those of round {round_number} of this run (a "
                "patient may have moved from training to test); put the data back, or start the job under another name"
            )
        keys = set(self.shared)
        own = {k: v for k, v in self.network.state_dict().items() if k not in keys}
        problem = problem_in_state(own, state["network"])
        if problem:
            raise InputError(f"site {self.task.site}: stored private state does not fit this job's network: {problem}")
        self.network.load_state_dict(state["network"], strict=False)
        self._optimizer.load_state_dict(state["optimizer"])
        self._previous, self.trajectory, self.best = state["previous"], state["trajectory"], state["best"]
