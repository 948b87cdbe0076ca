# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Base of the federated methods: layers shared, hooks at a site and at the server, settings and words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from flare_mri.config.base import Settings
from flare_mri.config.tasks import RECONSTRUCTION, SEGMENTATION
from flare_mri.config.training import TrainingSettings

# Command lines take names and options from the files of methods. PyTorch takes seconds to import, so that these import
# it, and what builds on it, only where they compute.
if TYPE_CHECKING:
    from torch import Tensor

    from flare_mri.training.learner import Learner

State: TypeAlias = "dict[str, Tensor]"
BOTH_TASKS = (RECONSTRUCTION, SEGMENTATION)


class NoOptions(Settings):
    """Settings of a method that has none."""


class SiteHooks:
    """A method's part at a site; the base adds nothing to plain local training.

    A learner has one object of it. What :meth:`state` gives is kept in the site's store with the learner's own private
    state, never leaves the site, and comes back by :meth:`restore` in another process.

    Args:
        options: the method's settings.
    """

    def __init__(self, options: Any):
        self.options = options

    def check(self, learner: Learner) -> None:
        """Raises InputError where the method cannot work with the learner's network and shared layers."""

    def read_message(self, message: Any, shared: Mapping[str, Tensor], learner: Learner) -> list[str]:
        """Take what the method's server part sent beside the global model; nothing in it is to be believed.

        Args:
            message: what :meth:`ServerHooks.message` gave, or None; a server may send anything.
            shared: the global shared part that came with it, already checked.
            learner: the site's.

        Returns:
            A line for everything that is left out.
        """
        return []

    def extra_like(self, learner: Learner) -> State:
        """Further tensors that travel with the shared part, of the names, shapes and types that are expected."""
        return {}

    def begin_round(self, learner: Learner, received: Mapping[str, Tensor], round_number: int) -> None:
        """Before a round's first step; the global shared part is loaded.

        Args:
            learner: the site's.
            received: the global shared part and the further tensors of :meth:`extra_like`, checked, on the CPU.
            round_number: of the job, from 0.
        """

    def epochs(self, settings: TrainingSettings) -> int:
        """Epochs over the training slices in a round."""
        return settings.local_epochs

    def begin_epoch(self, learner: Learner, epoch: int) -> None:
        """Before an epoch of a round, from 0; the network is in training mode."""

    def loss(self, learner: Learner) -> Tensor | None:
        """A term to be added to the task's loss in a step."""
        return None

    def after_backward(self, learner: Learner, step: int) -> None:
        """Between the gradients and the optimizer; `step` is that of the round, from 0."""

    def end_round(self, learner: Learner, round_number: int, abort: Callable[[], bool]) -> None:
        """After a round's last step."""

    def extra(self) -> State:
        """The further tensors that leave the site with its shared part, as :meth:`extra_like` names them."""
        return {}

    def personal(self) -> State | None:
        """State of the whole personal model where that is not the network itself; kept at the site."""
        return None

    def state(self) -> dict[str, Any]:
        """The private state that must survive the process, readable by ``torch.load(weights_only=True)``."""
        return {}

    def restore(self, state: Mapping[str, Any], learner: Learner) -> None:
        """Take up what :meth:`state` gave after an earlier round.

        Raises:
            InputError: it does not fit the learner's network.
        """


class ServerHooks:
    """A method's part at the server, beside averaging; the base adds nothing.

    Args:
        options: the method's settings.
    """

    def __init__(self, options: Any):
        self.options = options

    def begin_job(self, parameters: Mapping[str, Tensor]) -> None:
        """Before the first round of a run.

        Args:
            parameters: the shared parameters, without buffers, of which only shapes and types count.
        """

    def extra(self) -> State:
        """Further tensors that go out with the global shared part, all under the method's prefix.

        Every site answers with tensors of the same names, shapes and types, as differences: they are checked like
        weights and averaged with the same counts.
        """
        return {}

    def message(self) -> Any:
        """Message beside the global model in the next round, tensors in lists and mappings; None for nothing."""
        return None

    def after_round(
        self, shared: State, updates: Mapping[str, Mapping[str, Tensor]], extra: State, answered: float
    ) -> None:
        """After the average of a round.

        Args:
            shared: the new global shared part.
            updates: site -> the shared part that it sent and that counted.
            extra: the average of the sites' further tensors.
            answered: share of the federation's sites whose updates counted, 0 to 1.
        """

    def state(self) -> dict[str, Any]:
        """State for the server's checkpoint."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave, instead of :meth:`begin_job`."""

    def finish(
        self,
        personal: Mapping[str, State],
        shared: State,
        job: Mapping[str, Any],
        folder: Path,
        scores: Mapping[str, Mapping[str, float]],
    ) -> str:
        """After the last round, where the method gathers the sites' personal models.

        Args:
            personal: site -> its personal model, checked.
            shared: the global model.
            job: its settings, of which ``network`` and ``training`` say what the models are of.
            folder: of the run, on the server.
            scores: site -> mean test scores of its personal model by metric; "" -> those of the global model.

        Returns:
            A line for the log.
        """
        return ""


@dataclass(frozen=True)
class Method:
    """A method, as one file of this package defines it under the name ``METHOD``.

    Attributes:
        name: on the command line, in results and in a hospital's policy.
        description: one sentence for help and documentation.
        result: what a site ends with.
        shared_layers: what is shared, see :func:`flare_mri.networks.shared_keys`.
        tasks: which it serves.
        options: settings of its own; their fields are command-line options.
        site: its part at a site.
        server: its part at the server.
        extra_prefix: dotted prefix of further tensors that leave a site beside the shared part; empty for none.
        gathers_personal_models: whether the server asks for the whole personal models after the last round.
    """

    name: str
    description: str
    result: str
    shared_layers: str
    tasks: tuple[str, ...] = BOTH_TASKS
    options: type[Settings] = NoOptions
    site: type[SiteHooks] = SiteHooks
    server: type[ServerHooks] = ServerHooks
    extra_prefix: str = ""
    gathers_personal_models: bool = False
