# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI: a shared encoder, private decoders, a weighted contrastive term (Feng et al., IEEE TMI 2022, 2112.05752)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from flare_mri.config.base import Settings
from flare_mri.config.tasks import RECONSTRUCTION
from flare_mri.methods.base import Method, ServerHooks, SiteHooks, State

if TYPE_CHECKING:  # see flare_mri.methods.base
    from torch import Tensor

    from flare_mri.methods.weighted_contrastive import WeightedContrastive
    from flare_mri.training.learner import Learner


class FedMRIOptions(Settings):
    """Settings of FedMRI."""

    contrastive_weight: Annotated[float, Field(ge=0, le=1e4)] = 1.0
    """β of FedMRI (eq. 5), the weight of the contrastive term; 0 leaves it out."""

    negatives: Literal["all", "own", "none"] = "own"
    """Whose last encoders the term pushes away from; all, as in the paper, sends every site's to every site."""
    # With all, 0.23 and 0.09 dB better on four real sites; with own no hospital is sent another's weights.

    negatives_dtype: Literal["float32", "bfloat16", "int8"] = "float32"
    """How the encoders of others travel, as differences from the global one."""

    most_negatives: Annotated[int, Field(ge=0)] = 0
    """Encoders of others that travel in a round, other ones each round; 0: those of all sites."""

    def whose(self) -> str:
        """Whose encoders are used: without the term nobody's."""
        return self.negatives if self.contrastive_weight else "none"


class FedMRISite(SiteHooks):
    r"""Adds :math:`\beta \|\theta - \theta_G\|_1 / (\sum_j \|\theta - \theta_j\|_1 + \epsilon)` to the loss.

    From the second round on, and not on a round's first step, where :math:`\theta = \theta_G`; over the shared
    parameters, without buffers.
    """

    options: FedMRIOptions

    def __init__(self, options: FedMRIOptions):
        super().__init__(options)
        self._negatives: list[State] = []
        self._term: WeightedContrastive | None = None

    def read_message(self, message: Any, shared: Mapping[str, Tensor], learner: Learner) -> list[str]:
        """The sites' former encoders."""
        from flare_mri.methods.negatives import decode_negatives

        encoded = message if self.options.whose() == "all" else None
        expected = {key: shared[key] for key in learner.shared}
        self._negatives, problems = decode_negatives(encoded or [], expected, self.options.negatives_dtype)
        return problems

    def begin_round(self, learner: Learner, received: Mapping[str, Tensor], round_number: int) -> None:
        """Build the term, where there are negatives."""
        from flare_mri.methods.weighted_contrastive import WeightedContrastive

        if self.options.whose() == "own":
            self._negatives = [] if learner.previous is None else [learner.previous]
        keys, device = learner.shared_parameters, learner.task.device
        self._term = None
        if self._negatives and keys:
            negatives = [[negative[k].to(device) for k in keys] for negative in self._negatives]
            self._term = WeightedContrastive([received[k].to(device) for k in keys], negatives)

    def after_backward(self, learner: Learner, step: int) -> None:
        """Add the term's gradient."""
        if self._term is not None and step:
            parameters = dict(learner.network.named_parameters())
            self._term.add_gradient_(
                [parameters[k] for k in learner.shared_parameters], self.options.contrastive_weight
            )


class FedMRIServer(ServerHooks):
    """Sends the sites' former encoders to every site, where the job says so."""

    options: FedMRIOptions

    def __init__(self, options: FedMRIOptions):
        super().__init__(options)
        self._differences: dict[str, State] = {}

    def message(self) -> Any:
        """The encoders of the round before, without names."""
        from flare_mri.methods.negatives import encode_negatives

        return encode_negatives(self._differences, self.options.most_negatives) or None

    def after_round(
        self, shared: State, updates: Mapping[str, Mapping[str, Tensor]], extra: State, answered: float
    ) -> None:
        """Keep what the sites sent, as differences from the new global encoder."""
        from flare_mri.methods.negatives import negative_differences

        kept = updates if self.options.whose() == "all" else {}
        self._differences = negative_differences(
            kept, shared, self.options.negatives_dtype, self.options.most_negatives
        )

    def state(self) -> dict[str, Any]:
        """The differences, by site."""
        return {"negatives": self._differences}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take them up."""
        self._differences = dict(state["negatives"])


METHOD = Method(
    name="FedMRI",
    description="The encoder is averaged and held near the global one, away from former ones, by a contrastive term.",
    result="the global encoder with its own decoder",
    shared_layers="encoder",
    tasks=(RECONSTRUCTION,),
    options=FedMRIOptions,
    site=FedMRISite,
    server=FedMRIServer,
)
