# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Faults in a consortium of real processes: what the lead sees, what goes on, what is not lost.

``pytest -m deploy -s tests/deploy/test_faults.py`` prints the seconds of every fault.
"""

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import SITE_YAML, TINY
from consortium import SERVER, Consortium
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.training import TrainingSettings

pytestmark = [pytest.mark.slow, pytest.mark.deploy]

SITES = ["hospital-1", "hospital-2", "hospital-3"]
ROUNDS = 3
CLOCK = 240.0  # seconds in which anything must have ended, on a busy machine


class Runs:
    """Jobs in one consortium."""

    def __init__(self, consortium: Consortium, folder: Path):
        self.consortium, self.folder = consortium, folder
        self._count = 0

    def submit(self, name: str, rounds: int = ROUNDS, epochs: int = 6, **options: Any) -> str:
        """Export the job without code and submit it."""
        self._count += 1
        settings = {"min_clients": len(SITES), **options}
        training = TrainingSettings(lr=1e-3, local_epochs=epochs)
        recipe = FedMRIRecipe(
            name=name, num_rounds=rounds, network=TINY, training=training, include_code=False, **settings
        )
        folder = self.folder / str(self._count)
        recipe.export(str(folder))
        return self.consortium.submit(folder / name)

    def wait_for_round(self, name: str, number: int) -> None:
        """Wait until round `number` is finished; the next is then under way."""
        path = self.consortium.kit(SERVER) / "run_store" / name / "server" / "checkpoint.pt"

        def look() -> bool | None:
            found = path.exists() and torch.load(path, weights_only=True)["finished"] >= number
            return True if found else None

        self.consortium.wait_for(look, CLOCK, f"round {number} of {name}")

    def end(self, job: str) -> str:
        return self.consortium.wait_for_end(job, CLOCK)

    def results(self, job: str) -> dict[str, Any]:
        """results.json as the lead downloads it."""
        path = self.consortium.download(job, self.folder / "downloads") / "workspace" / "results.json"
        return json.loads(path.read_text())["methods"]["FedMRI"]

    def said(self, job: str, text: str) -> str:
        """The line with `text` in the server's log of a job that has ended, as the lead downloads it."""
        workspace = self.consortium.download(job, self.folder / "downloads") / "workspace"
        for path in workspace.rglob("log.txt"):
            for line in path.read_text(errors="replace").splitlines():
                if text in line:
                    return line
        raise AssertionError(f"no line with {text!r} in the logs in {workspace}")

    def store(self, site: str, name: str) -> Path:
        return self.consortium.kit(site) / "site_store" / name / site


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("faults")
    consortium = Consortium(
        folder / "consortium", SITES, provisioned=True, site_yaml=SITE_YAML.format(cache=cache), environment=THREADS
    )
    with consortium:
        yield Runs(consortium, folder)


THREADS = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def calm(runs: Runs) -> dict[str, Any]:
    """The undisturbed run that others are compared with."""
    job = runs.submit("calm")
    assert runs.end(job) == "FINISHED:COMPLETED"
    return runs.results(job)


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints what took how long."""
    started = time.monotonic()

    def tell(what: str) -> None:
        print(f"\n[{request.node.name}] {time.monotonic() - started:6.1f} s: {what}", flush=True)

    return tell


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Equal to the bit: losses and validation of every round, tests of the last and of the best models."""
    for site in SITES:
        assert one["sites"][site]["test"] == other["sites"][site]["test"]
        assert one["sites"][site]["best"] == other["sites"][site]["best"]
    for mine, yours in zip(one["rounds"], other["rounds"], strict=True):
        for site in SITES:
            assert mine["sites"][site]["train_loss"] == yours["sites"][site]["train_loss"]


@pytest.mark.parametrize("who", ["hospital-2", SERVER])
def test_a_killed_job_process_ends_the_job_which_is_resumed(
    runs: Runs, calm: dict[str, Any], clock: Callable[[str], None], who: str
) -> None:
    """FLARE ends a job whose process died anywhere; no finished round is lost, the resumed run is the calm one."""
    name = f"killed-{who}"
    job = runs.submit(name)
    pid = runs.consortium.job_pid(who, job, CLOCK)
    runs.wait_for_round(name, 0)
    os.kill(pid, signal.SIGKILL)
    clock("killed, in the second round")
    status = runs.end(job)
    assert status != "FINISHED:COMPLETED"
    clock(f"the lead sees {status}")
    again = runs.submit(name, resume=True)
    assert runs.end(again) == "FINISHED:COMPLETED"
    clock("resumed and completed")
    assert_same(runs.results(again), calm)


def test_a_hospital_that_dies_and_comes_back(runs: Runs, clock: Callable[[str], None]) -> None:
    """The others go on; its private state waits on its disk, and it takes part when the job is continued."""
    job = runs.submit("machine-off", rounds=4, min_clients=2, wait_time_after_min_received=5)
    runs.consortium.job_pid("hospital-3", job, CLOCK)
    runs.wait_for_round("machine-off", 0)
    runs.consortium.kill("hospital-3")
    clock("the hospital's machine is off")
    kept = {p.name: p.read_bytes() for p in runs.store("hospital-3", "machine-off").glob("*/round-*.pt")}
    assert kept
    runs.consortium.start("hospital-3")
    runs.consortium.wait_until_connected(["hospital-3"])
    clock("on again and connected")
    status = runs.end(job)
    clock(f"the job ended: {status}")
    rounds = runs.results(job)["rounds"]
    assert len(rounds) == 4 and sorted(rounds[3]["sites"]) == SITES[:2]
    assert {p.name: p.read_bytes() for p in runs.store("hospital-3", "machine-off").glob("*/round-*.pt")} == kept
    assert "going on without hospital-3" in runs.said(job, "going on without")
    longer = runs.submit("machine-off", rounds=5, min_clients=2, wait_time_after_min_received=5, resume=True)
    assert runs.end(longer) == "FINISHED:COMPLETED"
    assert sorted(runs.results(longer)["rounds"][4]["sites"]) == SITES
    number = max(int(name[6:-3]) for name in kept)
    assert f"away since round {number}" in log_of(runs, "hospital-3", longer, "away since")
    clock("continued for a round, with the hospital and from its own decoder")


def test_a_hospital_that_answers_too_late(runs: Runs, clock: Callable[[str], None]) -> None:
    """Frozen for some rounds: these end without it, its late answer counts nowhere, then it is back."""
    job = runs.submit("late", rounds=6, min_clients=2, wait_time_after_min_received=2, epochs=20)
    pid = runs.consortium.job_pid("hospital-3", job, CLOCK)
    runs.wait_for_round("late", 0)
    os.kill(pid, signal.SIGSTOP)
    clock("frozen")
    try:
        runs.wait_for_round("late", 2)
        clock("two rounds went on without it")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert runs.end(job) == "FINISHED:COMPLETED"
    present = ["hospital-3" in row["sites"] for row in runs.results(job)["rounds"]]
    assert present[0] and not all(present) and present[-1], present
    clock(f"completed; took part in rounds {[i for i, here in enumerate(present) if here]}")


def test_a_full_disk(runs: Runs, clock: Callable[[str], None]) -> None:
    """A file-size limit of nothing stands for the full disk: the site's rounds fail until there is room again."""
    job = runs.submit("disk-full", rounds=6, min_clients=2, wait_time_after_min_received=5, epochs=20)
    pid = runs.consortium.job_pid("hospital-3", job, CLOCK)
    runs.wait_for_round("disk-full", 0)
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (10_000, hard))
    clock("no room left")
    runs.consortium.wait_for_log(SERVER, "going on without hospital-3", CLOCK, job)  # it cannot even write a log
    state = runs.store("hospital-3", "disk-full")
    assert list(state.glob("*/round-*.pt")) and not list(state.glob("*/.round-*"))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    clock("room again")
    assert runs.end(job) == "FINISHED:COMPLETED"
    present = ["hospital-3" in row["sites"] for row in runs.results(job)["rounds"]]
    assert present[0] and not all(present) and present[-1], present
    clock(f"completed; took part in rounds {[i for i, here in enumerate(present) if here]}")


def test_two_jobs_at_once(runs: Runs, calm: dict[str, Any], clock: Callable[[str], None]) -> None:
    """Two names: both run, neither sees the other. One name twice: the second is refused, the first goes on."""
    jobs = [runs.submit(name) for name in ("one", "two", "one")]
    clock("submitted")
    statuses = [runs.end(job) for job in jobs]
    clock(f"ended: {statuses}")
    assert statuses[:2] == ["FINISHED:COMPLETED"] * 2
    assert_same(runs.results(jobs[0]), calm)
    assert_same(runs.results(jobs[1]), calm)
    if statuses[2] != "FINISHED:COMPLETED":  # FLARE may also have started it after the first had ended
        assert "a job named 'one' runs here already" in runs.said(jobs[2], "runs here already")


def test_a_hospital_that_joins_later(runs: Runs, clock: Callable[[str], None]) -> None:
    """FLARE 2.9 gives a running job to no newcomer; it joins when the job is continued. Last: the site stays."""
    job = runs.submit("joined", rounds=3)
    runs.wait_for_round("joined", 0)
    runs.consortium.add_site("hospital-4")
    runs.consortium.start("hospital-4")
    runs.consortium.wait_until_connected(["hospital-4"])
    clock("hospital-4 is connected")
    assert runs.end(job) == "FINISHED:COMPLETED"
    assert sorted(runs.results(job)["sites"]) == SITES
    longer = runs.submit("joined", rounds=4, resume=True)
    assert runs.end(longer) == "FINISHED:COMPLETED"
    results = runs.results(longer)
    assert sorted(results["rounds"][3]["sites"]) == [*SITES, "hospital-4"]
    assert results["sites"]["hospital-4"]["data"]["train"] > 0
    clock("continued with it")


def log_of(runs: Runs, site: str, job: str, text: str) -> str:
    return runs.consortium.wait_for_log(site, text, 10, job)
