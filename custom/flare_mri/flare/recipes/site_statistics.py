# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of the sites' data as a FLARE recipe."""

from collections.abc import Sequence
from pathlib import Path

from nvflare.app_common.app_constant import StatisticsConstants as StC
from nvflare.job_config.api import FedJob
from nvflare.job_config.defs import FilterType

from flare_mri.config.statistics import MOST_BINS
from flare_mri.datasets.volumes import find_scans
from flare_mri.errors import InputError
from flare_mri.flare.components import GatherStatistics, SharedPartOnly, StatisticsExecutor
from flare_mri.flare.executors.site import open_site
from flare_mri.flare.recipes.job import FlareMRIRecipe
from flare_mri.io.formats import FORMATS, RECONSTRUCTION, SEGMENTATION
from flare_mri.training import TrainingSettings


class SiteStatisticsRecipe(FlareMRIRecipe):
    """What data the sites of a consortium have, before anyone trains, by FLARE's federated statistics.

    FLARE's own ``FedStatsRecipe`` takes a generator that the job brings, and its privacy filters from the job: here
    both are the hospital's (:class:`~flare_mri.flare.executors.statistics.StatisticsExecutor`).

    Args:
        name: name of the job.
        min_clients: sites that must answer.
        task: whose data, ``reconstruction`` or ``segmentation``; empty: of the first one that a site's format serves.
        bins: of histograms over patients.
        wait_time_after_min_received: seconds to wait for further sites once `min_clients` have answered.
        require_site_config: refuse sites without a ``site.yaml`` instead of describing the phantom.
        include_code: put the package's code into the job.

    Raises:
        InputError: a setting is out of range; the message names it.
    """

    def __init__(
        self,
        *,
        name: str = "site_statistics",
        min_clients: int = 4,
        task: str = "",
        bins: int = 8,
        wait_time_after_min_received: int = 600,
        require_site_config: bool = False,
        include_code: bool = True,
    ):
        if task not in ("", RECONSTRUCTION, SEGMENTATION):
            raise InputError(f"task: expected {RECONSTRUCTION}, {SEGMENTATION} or none, got {task!r}; correct it")
        if not 2 <= bins <= MOST_BINS:
            raise InputError(f"bins: expected 2 to {MOST_BINS}, got {bins}; correct it")
        job = FedJob(name=name, min_clients=min_clients)
        controller = GatherStatistics(name, min_clients, bins, wait_time_after_min_received)
        job.to_server(controller, id="controller")
        tasks = [StC.FED_STATS_TASK]
        job.to_clients(StatisticsExecutor(name, task, require_site_config), id="executor", tasks=tasks)
        job.to_clients(SharedPartOnly([]), filter_type=FilterType.TASK_RESULT, tasks=tasks)
        super().__init__(job, task, TrainingSettings(), include_code, require_site_config)

    def check_sites(self, names: Sequence[str], workspace: Path) -> None:
        """See that every simulated site has scans; all of them are read by the job.

        Raises:
            InputError: the first thing that is wrong, naming site, file and fix.
        """
        for name in names:
            config = open_site(name, workspace, self.require_site_config).config
            scans = find_scans(config, self.task or FORMATS[config.data.format].tasks[0])
            print(f"{name}: {config.data.format}; {len(scans)} scans", flush=True)
