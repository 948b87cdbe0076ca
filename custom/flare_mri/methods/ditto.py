# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""Ditto: a personal model trained beside the global one (Li et al., ICML 2021, arXiv 2012.04221).

The global model :math:`w` is trained and averaged as in FedAvg. Beside it every site trains a model of its own,

.. math:: v \leftarrow v - \eta (\nabla F(v) + \lambda (v - w_G)),

held near the global model :math:`w_G` of the round's beginning by the proximal term
:math:`\frac{\lambda}{2} \|v - w_G\|^2`; v never leaves the site. FLARE's ``PTDittoHelper`` does not serve: it keeps v
in a file of its own that is not written atomically, and leaves training to its user; its proximal term is that of
:mod:`flare_mri.methods.fedprox`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from flare_mri.config.base import Settings
from flare_mri.errors import InputError
from flare_mri.methods.base import Method, SiteHooks, State
from flare_mri.methods.fedprox import proximal_term

if TYPE_CHECKING:  # see flare_mri.methods.base
    from torch import Tensor, nn

    from flare_mri.training.learner import Learner


class DittoOptions(Settings):
    """Settings of Ditto."""

    ditto_lambda: Annotated[float, Field(ge=0, le=1e4)] = 0.1
    """λ of Ditto, which holds the personal model near the global one; 0 trains it as if alone."""


class _Proximal(SiteHooks):
    """The term of the personal model's own steps."""

    def __init__(self, options: DittoOptions, network: nn.Module, reference: State):
        super().__init__(options)
        self._network, self._reference = network, reference

    def loss(self, learner: Learner) -> Tensor | None:
        if not self.options.ditto_lambda:
            return None
        return proximal_term(self._network, self._reference, self._reference, self.options.ditto_lambda)


class DittoSite(SiteHooks):
    """Trains the personal model after the global one, over the same slices in the same order.

    Its optimizer is of the job's kind, and its state lasts over rounds. It begins as the first global model that the
    site receives.
    """

    options: DittoOptions

    def __init__(self, options: DittoOptions):
        super().__init__(options)
        self._network: nn.Module | None = None

    def begin_round(self, learner: Learner, received: Mapping[str, Tensor], round_number: int) -> None:
        """Keep the global parameters; the personal model begins as them."""
        self._reference = {name: received[name].to(learner.task.device) for name in learner.shared_parameters}
        if self._network is None:
            self._begin(learner)

    def check(self, learner: Learner) -> None:
        """The personal model learns from the same images once more, which no budget would be charged for."""
        if learner.private is not None:
            raise InputError(
                f"site {learner.task.site}: Ditto: expected no differential privacy, which would not hold for its "
                "personal model, got it; choose another method"
            )

    def end_round(self, learner: Learner, round_number: int, abort: Callable[[], bool]) -> None:
        """Train the personal model, for as many epochs as the global one."""
        from flare_mri.training.local_steps import fit

        assert self._network is not None
        term = _Proximal(self.options, self._network, self._reference)
        fit(learner, self._network, self._optimizer, round_number, term, abort)

    def personal(self) -> State | None:
        """The personal model."""
        return None if self._network is None else self._network.state_dict()

    def state(self) -> dict[str, Any]:
        """The personal model and its optimizer."""
        if self._network is None:
            return {}
        network = {key: value.cpu() for key, value in self._network.state_dict().items()}
        return {"network": network, "optimizer": self._optimizer.state_dict()}

    def restore(self, state: Mapping[str, Any], learner: Learner) -> None:
        """Take them up."""
        from flare_mri.networks.state_check import check_private_state

        if state:
            check_private_state(learner.task.site, "Ditto's model", learner.network.state_dict(), state["network"])
            self._begin(learner).load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])

    def _begin(self, learner: Learner) -> nn.Module:
        from flare_mri.training.optimizer import build_optimizer

        self._network = copy.deepcopy(learner.network)
        self._optimizer = build_optimizer(learner.settings, self._network)
        return self._network


METHOD = Method(
    name="Ditto",
    description="FedAvg, and beside it at every site a personal model that is held near the global one.",
    result="a personal model that never left it",
    shared_layers="all",
    options=DittoOptions,
    site=DittoSite,
)
