# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The inside of IOP-FL on the server: FedAvg, then gathering the routing space."""

from pathlib import Path
from typing import Any

from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.flare.aggregators import PartialAggregator
from flare_mri.flare.protocol import TaskName
from flare_mri.flare.workflows.personalized_fedavg import PersonalizedFedAvg
from flare_mri.routing.space import GLOBAL, RoutingSpace, save_routing_space

SPACE_FILE = "routing_space.safetensors"


class TrajectoryFedAvg(PersonalizedFedAvg):
    """Rounds of FedAvg, at whose end the sites' personal trajectories are gathered (arXiv 2204.08467).

    The personal models and the global model go to ``routing_space.safetensors`` in the run's folder on the server; no
    site receives another site's model. Arguments are those of
    :class:`~flare_mri.flare.workflows.personalized_fedavg.PersonalizedFedAvg`; ``settings`` must hold the network's.
    """

    def _finish(self, aggregator: PartialAggregator, shared: dict[str, Tensor], meta: dict[str, Any]) -> None:
        aggregator.begin_round(shared, self.num_rounds)
        ready = [site for site in self._connected() if site in self._ready]
        for answer in self._ask(TaskName.SUBMIT, ready, {}, self.num_rounds, meta):
            aggregator.accept_model(answer)
        aggregator.compare_norms(clip=False)
        for site, problem in sorted(aggregator.rejected.items()):
            self.warning(f"personal model of {site} left out of the routing space: {problem}")
        if len(aggregator.accepted) < self.min_sites:
            raise InputError(
                f"routing space: {len(aggregator.accepted)} personal models, expected at least {self.min_sites} "
                f"({aggregator.rejected}); none was written"
            )
        experts = {site: dict(aggregator.accepted[site].params or {}) for site in sorted(aggregator.accepted)}
        path = Path(self.get_run_dir()) / SPACE_FILE
        digest = save_routing_space(path, RoutingSpace(self.settings["network"], {**experts, GLOBAL: shared}))
        self.info(f"routing space of {len(experts)} sites and the global model: {path.name}, checksum {digest}")
