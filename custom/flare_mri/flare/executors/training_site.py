# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a site keeps open while it trains: its data, its store, its privacy ledger, its processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flare_mri.flare.executors.site import Site, use_threads
from flare_mri.parallel import Computing, LocalJob, TrainingProcesses
from flare_mri.parallel.devices import check_processes
from flare_mri.training import Learner, RoundReport, SiteStore, Task
from flare_mri.training.privacy_ledger import PrivacyLedger
from flare_mri.training.private_steps import PrivateSteps
from flare_mri.training.task import Abort


@dataclass(frozen=True)
class TrainingSite:
    """A site that trains in a job.

    Attributes:
        job: as it is at this site.
        task: its data.
        store: locked as long as this lives.
        ledger: of its patients' privacy.
        computing: how its network computes.
        processes: that train together; None where this one trains alone.
    """

    job: LocalJob
    task: Task
    store: SiteStore
    ledger: PrivacyLedger
    computing: Computing
    processes: TrainingProcesses | None

    def build_learner(self, rounds: int | None, run: str) -> Learner:
        """A learner with the network's initial weights.

        Args:
            rounds: of the job, where it trains with differential privacy.
            run: the run's id; "" before the site knows of one.
        """
        private = None
        if rounds is not None:
            settings = self.job.settings
            private = PrivateSteps(settings, self.task, self.job.epochs, rounds, self.ledger, run, self.job.name)
        return self.job.build_learner(self.task, private, self.computing)

    def train(
        self, learner: Learner, received: Mapping[str, Tensor], message: Any, round_number: int, abort: Abort
    ) -> tuple[RoundReport, dict[str, Tensor]]:
        """A round, here or in the site's processes, and what it returns; `message` is the method's, as it came."""
        if self.processes is not None:
            return self.processes.train(learner, received, message, round_number, abort, self.computing)
        return learner.train(received, round_number, abort), learner.update()

    def close(self) -> None:
        """End the site's processes, where there are some."""
        if self.processes is not None:
            self.processes.close()


def open_training_site(site: Site, job: LocalJob) -> TrainingSite:
    """Read a site's data, and see that it can train the job as its settings say.

    Args:
        site: its settings and places.
        job: as it is at this site.

    Raises:
        InputError: data, processes or torch.compile that cannot be used, or a store that is not the site's alone.
    """
    config = site.config
    use_threads(config)
    task, processes = job.build_task(config), None
    if config.processes > 1:
        check_processes(config, job.settings, task)
        processes = TrainingProcesses(job, config)
    store = SiteStore(site.store_root, job.name, config.site)
    store.lock()
    computing = job.choose_computing(config, task, store.folder)
    ledger = PrivacyLedger(site.store_root, config.site, config.privacy)
    return TrainingSite(job, task, store, ledger, computing, processes)
