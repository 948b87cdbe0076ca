# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site's process is killed (-9), between rounds and in the middle of one; the numbers stay the same."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from nvflare.apis.event_type import EventType
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.fuel.utils import fobs

from conftest import TINY, write_site
from federation import Federation, build, context, register_decomposers
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.training import TrainingSettings

FORKSERVER = multiprocessing.get_context("forkserver")
# what all processes import is imported once
FORKSERVER.set_forkserver_preload(["flare_mri.flare.components", "flare_mri.flare.recipes"])


def serve(connection: Connection, config: dict[str, Any], site: str, root: str) -> None:
    """A hospital's process: takes tasks and answers them until it is killed."""
    torch.set_num_threads(1)
    register_decomposers()
    executor = build(config)
    while True:
        task_name, task = connection.recv()
        fl_ctx = context(site, "job", Path(root))
        executor.handle_event(EventType.START_RUN, fl_ctx)
        connection.send(fobs.dumps(executor.execute(task_name, fobs.loads(task), fl_ctx, Signal())))


class FederationOfProcesses(Federation):
    """Every site is a process; `kill` says after, or during, which of its training rounds a site is killed."""

    kill: dict[tuple[str, int], str]

    def _start(self, site: str) -> None:
        here, there = FORKSERVER.Pipe()
        arguments = (there, self._client["executors"][0]["executor"], site, str(self.root / site))
        process = FORKSERVER.Process(target=serve, args=arguments, daemon=True)
        process.start()
        self._executors[site] = (process, here)

    def _end(self, site: str) -> None:
        process, connection = self._executors.pop(site)
        process.kill()
        process.join()
        connection.close()

    def _execute(self, site: str, task_name: str, task: Shareable) -> Shareable:
        moment = self.kill.get((site, task.get_header("current_round"))) if task_name == "train" else None
        for attempt in ("first", "again"):
            if site not in self._executors:
                self._start(site)
            connection = self._executors[site][1]
            connection.send((task_name, fobs.dumps(task)))
            if moment == "during" and attempt == "first":
                connection.poll(0.3)
                self._end(site)
                continue
            reply = fobs.loads(connection.recv())
            break
        if moment == "after":
            self._end(site)
        return reply

    def finish(self) -> None:
        for site in list(self._executors):
            self._end(site)


def recipe(sites: list[str], method: str) -> FedMRIRecipe:
    settings = {"network": TINY, "training": TrainingSettings(lr=1e-3), "min_clients": len(sites), "num_rounds": 3}
    return FedMRIRecipe(method=method, include_code=False, **settings)


# Ditto and SCAFFOLD keep more at a site; a process that starts costs seconds, so they run in test-deploy
MORE_STATE = [pytest.param(method, marks=[pytest.mark.slow, pytest.mark.deploy]) for method in ("Ditto", "SCAFFOLD")]


@pytest.mark.parametrize("method", ["FedMRI", *MORE_STATE])
def test_killed_sites_end_with_the_numbers_of_an_undisturbed_run(tmp_path: Path, cache: Path, method: str) -> None:
    sites = ["site-1", "site-2"]
    for name in ("calm", "killed"):
        for site in sites:
            write_site(tmp_path / name / site, cache)
    calm = Federation(recipe(sites, method), sites, tmp_path / "calm")
    undisturbed = calm.run()
    killed = FederationOfProcesses(recipe(sites, method), sites, tmp_path / "killed")
    killed.kill = {("site-1", 0): "after", ("site-2", 1): "during"}
    try:
        disturbed = killed.run()
    finally:
        killed.finish()
    for key, value in calm.saved[-1]["params"].items():
        assert torch.equal(value, killed.saved[-1]["params"][key])
    for site in sites:
        one, other = (results["methods"][method]["sites"][site] for results in (undisturbed, disturbed))
        assert one["test"] == other["test"] and one["best"] == other["best"]
        assert one.get("personal") == other.get("personal")
