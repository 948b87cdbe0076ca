# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""IOP-FL inside: FedAvg, and at every site a personal model from an accumulated trajectory (arXiv 2204.08467)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from flare_mri.config.base import Settings
from flare_mri.config.tasks import SEGMENTATION
from flare_mri.config.training import TrainingSettings
from flare_mri.methods.base import Method, ServerHooks, SiteHooks, State

if TYPE_CHECKING:  # see flare_mri.methods.base
    from torch import Tensor

    from flare_mri.training.learner import Learner


class IOPFLOptions(Settings):
    """Settings of IOP-FL."""

    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """α of IOP-FL's personal trajectory; 0 takes the last local model."""


def advance(trajectory: Mapping[str, Tensor] | None, local: Mapping[str, Tensor], decay: float) -> State:
    r"""One step of the accumulated trajectory, :math:`p \leftarrow \alpha p + (1 - \alpha) \theta_{local}` (eq. 2).

    Args:
        trajectory: p of the round before, None in the first round, where p is a copy of the local model.
        local: state dict of the locally trained network.
        decay: α, 0 <= α < 1; 0 is the last local model.

    Returns:
        The new trajectory, sharing no memory with `local`. Integer buffers (BatchNorm's ``num_batches_tracked``) are
        taken from the local model, since a mean of counts means nothing.
    """
    if trajectory is None:
        return {key: value.detach().clone() for key, value in local.items()}
    return {
        key: value.lerp(trajectory[key].to(value.device), decay) if value.is_floating_point() else value.clone()
        for key, value in ((k, v.detach()) for k, v in local.items())
    }


class IOPFLSite(SiteHooks):
    """Keeps the trajectory."""

    options: IOPFLOptions

    def __init__(self, options: IOPFLOptions):
        super().__init__(options)
        self.trajectory: State | None = None

    def end_round(self, learner: Learner, round_number: int, abort: Callable[[], bool]) -> None:
        """Advance the trajectory by the locally trained network."""
        self.trajectory = advance(self.trajectory, learner.network.state_dict(), self.options.ema_decay)

    def personal(self) -> State | None:
        """The trajectory."""
        return self.trajectory

    def state(self) -> dict[str, Any]:
        """The trajectory."""
        return {"trajectory": self.trajectory}

    def restore(self, state: Mapping[str, Any], learner: Learner) -> None:
        """Take up the trajectory."""
        from flare_mri.networks.state_check import check_private_state

        if state["trajectory"] is not None:
            check_private_state(learner.task.site, "trajectory", learner.network.state_dict(), state["trajectory"])
        self.trajectory = state["trajectory"]


class IOPFLServer(ServerHooks):
    """Writes the routing space; no site receives another site's model."""

    def finish(
        self,
        personal: Mapping[str, State],
        shared: State,
        job: Mapping[str, Any],
        folder: Path,
        scores: Mapping[str, Mapping[str, float]],
    ) -> str:
        """Write the sites' personal models and the global one to ``routing_space.safetensors``."""
        from flare_mri.routing.space import GLOBAL, SPACE_FILE, RoutingSpace, save_routing_space

        experts = {site: dict(personal[site]) for site in sorted(personal)}
        plan = TrainingSettings.read(dict(job["training"]), "job, training").plan()
        dice = {site or GLOBAL: float(found.get("dice", -1)) for site, found in scores.items()}
        # a site may claim anything: what is no Dice is not known, and costs nobody the routing space
        known = {name: dice[name] for name in (*experts, GLOBAL) if 0 <= dice.get(name, -1) <= 1}
        space = RoutingSpace(dict(job["network"]), {**experts, GLOBAL: shared}, plan, dice=known)
        digest = save_routing_space(folder / SPACE_FILE, space)
        unknown = ", ".join(name for name in (*experts, GLOBAL) if name not in known)
        told = f"; no Dice at home is known of {unknown}" if unknown else ""
        return f"routing space of {len(experts)} sites and the global model: {SPACE_FILE}, checksum {digest}{told}"


METHOD = Method(
    name="IOP-FL",
    description="FedAvg; every site keeps a moving average of its local models, which form the routing space.",
    result="a personal model, the moving average of its local ones",
    shared_layers="all",
    tasks=(SEGMENTATION,),
    options=IOPFLOptions,
    site=IOPFLSite,
    server=IOPFLServer,
    gathers_personal_models=True,
)
