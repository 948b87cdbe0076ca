# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The outside of IOP-FL as a FLARE recipe."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvflare.job_config.api import FedJob
from nvflare.job_config.defs import FilterType

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.errors import InputError
from flare_mri.flare.components import RouteOutside, RoutingExecutor, SharedPartOnly
from flare_mri.flare.protocol import TaskName
from flare_mri.flare.recipes.job import FlareMRIRecipe
from flare_mri.flare.workflows.outside import SPACE_VARIABLE
from flare_mri.networks import build_meta_network
from flare_mri.routing import check_experts, check_routable
from flare_mri.routing.space import load_routing_space
from flare_mri.training import SEGMENTATION, TrainingSettings


class IOPFLOutsideRecipe(FlareMRIRecipe):
    """A model for hospitals that never trained, from the personal models of those that did.

    Jiang et al., IEEE TMI 2023, arXiv 2204.08467.

    Args:
        name: name of the job and of its folder in every site's store.
        min_clients: outside sites that must answer.
        routing_space: path, on the server, of the file that the job iopfl left; empty takes
            ``$FLARE_MRI_ROUTING_SPACE`` there.
        require_site_config: refuse sites without a ``site.yaml`` instead of adapting to the phantom.
        include_code: put the package's code into the job.
        settings: fields of :class:`~flare_mri.config.adaptation.AdaptationSettings`.

    Raises:
        InputError: a setting is unknown or out of range; the message names it.
    """

    def __init__(
        self,
        *,
        name: str = "iopfl_outside",
        min_clients: int = 1,
        routing_space: str = "",
        require_site_config: bool = False,
        include_code: bool = True,
        **settings: Any,
    ):
        adaptation = AdaptationSettings.read(settings, "job").model_dump()
        job = FedJob(name=name, min_clients=min_clients)
        controller = RouteOutside(routing_space, min_clients, settings={"job": name, **adaptation})
        job.to_server(controller, id="controller")
        executor = RoutingExecutor(name, require_site_config, adaptation)
        tasks = [TaskName.CHECK, TaskName.ROUTE]
        job.to_clients(executor, id="executor", tasks=tasks)
        job.to_clients(SharedPartOnly([]), filter_type=FilterType.TASK_RESULT, tasks=tasks)
        training = TrainingSettings(seed=adaptation["seed"])
        super().__init__(job, SEGMENTATION, training, include_code, require_site_config)
        self.routing_space = routing_space

    def count_slices(self, task: Any) -> str:
        """All slices of an outside site, however site.yaml splits them."""
        return f"{len(task.data.outside)} slices, all of them seen and, with labels, scored"

    def check_sites(self, names: Sequence[str], workspace: Path) -> None:
        """Also read the routing space, as the simulated server will, and see that its experts can be routed.

        Raises:
            InputError: the first thing that is wrong, naming the file or the site.
        """
        path = self.routing_space or os.environ.get(SPACE_VARIABLE, "")
        if not path:
            raise InputError(f"routing space: no path; give it with --routing_space or set ${SPACE_VARIABLE}")
        space = load_routing_space(Path(path))
        network = build_meta_network(space.network)
        check_routable(network)
        check_experts(network.state_dict(), space.experts)
        self.training = TrainingSettings(seed=self.training.seed, **space.plan.model_dump())
        super().check_sites(names, workspace)
