# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedProx: FedAvg with a proximal term (Li et al., MLSys 2020, arXiv 1812.06127)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from flare_mri.config.base import Settings
from flare_mri.methods.base import Method, SiteHooks

if TYPE_CHECKING:  # see flare_mri.methods.base
    from torch import Tensor, nn

    from flare_mri.training.learner import Learner


class FedProxOptions(Settings):
    """Settings of FedProx."""

    fedprox_mu: Annotated[float, Field(ge=0, le=1e4)] = 0.01
    """μ of FedProx, the weight of the proximal term; 0 leaves it out."""


def proximal_term(network: nn.Module, reference: Mapping[str, Tensor], names: Iterable[str], weight: float) -> Tensor:
    r""":math:`\frac{\mu}{2} \sum \|w - w_G\|^2` over the named parameters, a scalar.

    FLARE's ``PTFedProxLoss``, number by number, which takes two whole networks and would bring FLARE into training.

    Args:
        network: holds w.
        reference: w_G by name, on the network's device.
        names: of parameters.
        weight: μ.
    """
    import torch

    parameters = dict(network.named_parameters())
    term = torch.zeros((), device=next(iter(parameters.values())).device)
    for name in names:
        term = term + (weight / 2) * torch.sum((parameters[name] - reference[name]) ** 2)
    return term


class FedProxSite(SiteHooks):
    """Adds the proximal term on the shared parameters to the task's loss."""

    options: FedProxOptions

    def begin_round(self, learner: Learner, received: Mapping[str, Tensor], round_number: int) -> None:
        """Keep the global parameters for the round."""
        self._reference = {name: received[name].to(learner.task.device) for name in learner.shared_parameters}

    def loss(self, learner: Learner) -> Tensor | None:
        """The proximal term."""
        if not self.options.fedprox_mu:
            return None
        return proximal_term(learner.network, self._reference, self._reference, self.options.fedprox_mu)


METHOD = Method(
    name="FedProx",
    description="FedAvg with a proximal term that holds local training near the global model.",
    result="the global model",
    shared_layers="all",
    options=FedProxOptions,
    site=FedProxSite,
)
