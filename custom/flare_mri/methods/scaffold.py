# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""SCAFFOLD: control variates against client drift (Karimireddy et al., ICML 2020, arXiv 1910.06378).

A site adds :math:`c - c_i` to the gradient g of each of its K local steps, and then sets

.. math:: c_i^+ = \frac{1}{K} \sum_k g_k .

With plain SGD of rate η this *is* the paper's option II, :math:`c_i^+ = c_i - c + (x - y_i) / (K η)`, since
:math:`x - y_i = η \sum_k (g_k - c_i + c)`. With RMSprop and Adam, whose steps are not η g, option II would take scaled
steps for gradients; the mean of the gradients stays one, and the correction is put in before the optimizer scales. The
paper's guarantees are for SGD without momentum.

The site sends :math:`Δ_i = c_i^+ - c_i` beside its weights, one tensor for each shared parameter under the prefix
``control_variate``, and keeps :math:`c_i`. The server averages them like weights and adds them up,
:math:`c \leftarrow c + \frac{|S|}{N} \overline{Δ}`, S the sites that answered of N.

FLARE's ``PTScaffoldHelper`` does not serve: it keeps its controls where no store can read them back, and takes every
optimizer for plain SGD. For that one, a test compares with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flare_mri.errors import InputError
from flare_mri.methods.base import Method, NoOptions, ServerHooks, SiteHooks, State

if TYPE_CHECKING:  # see flare_mri.methods.base
    from torch import Tensor

    from flare_mri.training.learner import Learner

PREFIX = "control_variate"


def _wire_name(name: str) -> str:
    return f"{PREFIX}.{name}"


class ScaffoldSite(SiteHooks):
    """Corrects the gradients, and keeps the site's own control variate."""

    def __init__(self, options: NoOptions):
        super().__init__(options)
        self._own: State = {}  # c_i; nothing stands for zeros
        self._delta: State = {}

    def extra_like(self, learner: Learner) -> State:
        """A control variate for every shared parameter."""
        parameters = dict(learner.network.named_parameters())
        return {_wire_name(name): parameters[name] for name in learner.shared_parameters}

    def begin_round(self, learner: Learner, received: Mapping[str, Tensor], round_number: int) -> None:
        """Take the server's control variate."""
        import torch

        device = learner.task.device
        self._global = {name: received[_wire_name(name)].to(device) for name in learner.shared_parameters}
        self._before = {name: self._own[name].to(device) if self._own else torch.zeros_like(value)
                        for name, value in self._global.items()}  # fmt: skip
        self._sum = {name: torch.zeros_like(value) for name, value in self._global.items()}
        self._steps = 0

    def after_backward(self, learner: Learner, step: int) -> None:
        """Add up the gradients, then correct them.

        Raises:
            InputError: the received control variate is no mean of gradients: far larger than this site's own.
        """
        import torch

        parameters = dict(learner.network.named_parameters())
        gradients = {name: parameters[name].grad for name in self._global}
        if step == 0:
            self._check_size(learner, gradients.values())
        with torch.no_grad():
            for name, gradient in gradients.items():
                if gradient is None:
                    parameters[name].grad = gradient = torch.zeros_like(parameters[name])
                self._sum[name].add_(gradient)
                gradient.add_(self._global[name] - self._before[name])
        self._steps += 1

    def _check_size(self, learner: Learner, gradients: Any) -> None:
        from flare_mri.networks.state_check import norm_of
        from flare_mri.training.learner import MOST_NORMS

        size = norm_of(self._global.values())
        own = max(norm_of(self._before.values()), norm_of(g for g in gradients if g is not None))
        if size > MOST_NORMS * own:
            raise InputError(
                f"site {learner.task.site}: control variate of norm {size:.3g}, expected at most {MOST_NORMS} times "
                f"this site's {own:.3g}; it is not used, ask the consortium's lead what the server sends"
            )

    def end_round(self, learner: Learner, round_number: int, abort: Callable[[], bool]) -> None:
        """The site's new control variate, and what it changed by."""
        new = {name: (value / self._steps).cpu() for name, value in self._sum.items()}
        self._delta = {_wire_name(name): value - self._before[name].cpu() for name, value in new.items()}
        self._own = new

    def extra(self) -> State:
        """The change of the control variate."""
        return self._delta

    def state(self) -> dict[str, Any]:
        """The site's control variate."""
        return {"control": self._own}

    def restore(self, state: Mapping[str, Any], learner: Learner) -> None:
        """Take it up."""
        from flare_mri.networks.state_check import check_private_state

        if state["control"]:
            expected = {name: value for name, value in learner.network.named_parameters()
                        if name in set(learner.shared_parameters)}  # fmt: skip
            check_private_state(learner.task.site, "control variate", expected, state["control"])
        self._own = dict(state["control"])


class ScaffoldServer(ServerHooks):
    """Keeps the federation's control variate."""

    def __init__(self, options: NoOptions):
        super().__init__(options)
        self._control: State = {}

    def begin_job(self, parameters: Mapping[str, Tensor]) -> None:
        """Zeros."""
        import torch

        self._control = {_wire_name(k): torch.zeros(v.shape, dtype=v.dtype) for k, v in parameters.items()}

    def extra(self) -> State:
        """The control variate."""
        return self._control

    def after_round(
        self, shared: State, updates: Mapping[str, Mapping[str, Tensor]], extra: State, answered: float
    ) -> None:
        """Add what the sites' ones changed by."""
        self._control = {key: value + answered * extra[key] for key, value in self._control.items()}

    def state(self) -> dict[str, Any]:
        """The control variate."""
        return {"control": self._control}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take it up."""
        self._control = dict(state["control"])


METHOD = Method(
    name="SCAFFOLD",
    description="FedAvg with control variates, which correct every local step for the site's drift.",
    result="the global model",
    shared_layers="all",
    site=ScaffoldSite,
    server=ScaffoldServer,
    extra_prefix=PREFIX,
)
