# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The outside of IOP-FL as a FLARE recipe."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvflare.job_config.api import FedJob
from nvflare.job_config.defs import FilterType

from flare_mri.errors import InputError
from flare_mri.flare.components import RouteOutside, RoutingExecutor, SharedPartOnly
from flare_mri.flare.protocol import TaskName
from flare_mri.flare.recipes.job import FlareMRIRecipe
from flare_mri.flare.workflows.outside import SPACE_VARIABLE
from flare_mri.networks import network_without_values
from flare_mri.routing import check_experts, check_routable
from flare_mri.routing.space import load_routing_space
from flare_mri.training import SEGMENTATION


class IOPFLOutsideRecipe(FlareMRIRecipe):
    """Test-time routing for hospitals that never trained (Jiang et al., IEEE TMI 2023, arXiv 2204.08467).

    Args:
        name: name of the job and of its folder in every site's store.
        min_clients: outside sites that must answer.
        routing_space: path, on the server, of the file that the job iopfl left; empty takes
            ``$FLARE_MRI_ROUTING_SPACE`` there.
        epochs: passes over a site's unlabelled slices.
        lr: learning rate of the adaptation.
        batch_size: slices in a batch.
        seed: of the adaptation.
        entropy_reduction: ``mean`` over the pixels, or ``published``: `batch_size` / 2 times that, as in the published
            code, whose entropy sums over the batch (see :class:`~flare_mri.routing.TestTimeLoss`).
        require_site_config: refuse sites without a ``site.yaml`` instead of adapting to the phantom.
        include_code: put the package's code into the job.
    """

    def __init__(
        self,
        *,
        name: str = "iopfl_outside",
        min_clients: int = 1,
        routing_space: str = "",
        epochs: int = 10,
        lr: float = 1e-3,
        batch_size: int = 8,
        seed: int = 0,
        entropy_reduction: str = "mean",
        require_site_config: bool = False,
        include_code: bool = True,
    ):
        adaptation: dict[str, Any] = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "seed": seed}
        adaptation["entropy_reduction"] = entropy_reduction
        job = FedJob(name=name, min_clients=min_clients)
        controller = RouteOutside(routing_space, min_clients, settings={"job": name, **adaptation})
        job.to_server(controller, id="controller")
        executor = RoutingExecutor(name, epochs, lr, batch_size, seed, require_site_config, entropy_reduction)
        tasks = [TaskName.CHECK, TaskName.ROUTE]
        job.to_clients(executor, id="executor", tasks=tasks)
        job.to_clients(SharedPartOnly([]), filter_type=FilterType.TASK_RESULT, tasks=tasks)
        super().__init__(job, SEGMENTATION, seed, include_code, require_site_config)
        self.routing_space = routing_space

    def check_sites(self, names: Sequence[str], workspace: Path) -> None:
        """Also read the routing space, as the simulated server will, and see that its experts can be routed.

        Raises:
            InputError: the first thing that is wrong, naming the file or the site.
        """
        path = self.routing_space or os.environ.get(SPACE_VARIABLE, "")
        if not path:
            raise InputError(f"routing space: no path; give it with --routing_space or set ${SPACE_VARIABLE}")
        space = load_routing_space(Path(path))
        network = network_without_values(space.network)
        check_routable(network)
        check_experts(network.state_dict(), space.experts)
        super().check_sites(names, workspace)
