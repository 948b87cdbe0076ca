# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedRep: a shared representation, private heads (Collins et al., ICML 2021, arXiv 2102.07078).

The representation is the shared part, the encoder; the head is the private one, the decoder. A round first trains the
head for `head_epochs` on the fixed representation, then for the job's local epochs the representation under the fixed
head, and only that is averaged. The head's optimizer state lasts over rounds, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from flare_mri.config.base import Settings
from flare_mri.config.training import TrainingSettings
from flare_mri.errors import InputError
from flare_mri.methods.base import Method, SiteHooks

if TYPE_CHECKING:  # see flare_mri.methods.base
    from torch import Tensor

    from flare_mri.training.learner import Learner


class FedRepOptions(Settings):
    """Settings of FedRep."""

    head_epochs: Annotated[int, Field(ge=0, le=1000)] = 1
    """Epochs of a round on the private part alone, before local_epochs on the shared one; 0 trains both together."""


class FedRepSite(SiteHooks):
    """Trains the private part, then the shared one. With 0 head epochs this is encoder sharing."""

    options: FedRepOptions

    def check(self, learner: Learner) -> None:
        """There must be a representation and a head."""
        count = len(learner.shared_parameters)
        if not 0 < count < len(list(learner.network.parameters())):
            raise InputError(
                f"site {learner.task.site}: FedRep: expected a shared part and a private one, got {count} shared "
                "parameters of all; take shared_layers 'encoder', or FedAvg or local-only"
            )

    def epochs(self, settings: TrainingSettings) -> int:
        """Of the head, then of the representation."""
        return self.options.head_epochs + settings.local_epochs

    def begin_epoch(self, learner: Learner, epoch: int) -> None:
        """Fix one part; statistics of its batch normalisation do not move either."""
        from flare_mri.networks.shared_layers import NORM_LAYERS

        if not self.options.head_epochs:
            return
        of_head = epoch < self.options.head_epochs
        shared = set(learner.shared_parameters)
        for name, parameter in learner.network.named_parameters():
            parameter.requires_grad_((name not in shared) == of_head)
        keys = set(learner.shared)
        for name, module in learner.network.named_modules():
            own = {f"{name}.{key}" for key in module.state_dict()}
            if isinstance(module, NORM_LAYERS) and own:
                module.train((own <= keys) != of_head)

    def end_round(self, learner: Learner, round_number: int, abort: Callable[[], bool]) -> None:
        """Free both parts."""
        for parameter in learner.network.parameters():
            parameter.requires_grad_(True)

    def begin_round(self, learner: Learner, received: Mapping[str, Tensor], round_number: int) -> None:
        """A round that was aborted may have left a part fixed."""
        for parameter in learner.network.parameters():
            parameter.requires_grad_(True)


METHOD = Method(
    name="FedRep",
    description="Sites train their own decoder on the fixed shared encoder, then the encoder, which is averaged.",
    result="the global encoder with its own decoder",
    shared_layers="encoder",
    options=FedRepOptions,
    site=FedRepSite,
)
