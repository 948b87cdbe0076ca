# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes of a site train as one does: equal numbers, one line where one of them dies, nothing left over."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.errors import InputError
from flare_mri.parallel import PLAIN, TrainingProcesses
from flare_mri.parallel.devices import check_processes, devices_of
from flare_mri.training import AbortedError, TrainingSettings
from ranks import JOBS, ROUNDS, SITE, received_by, train

RANKS = Path(__file__).parents[1] / "ranks.py"
TESTS, PACKAGE = RANKS.parent, RANKS.parents[1] / "custom"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> SiteConfig:
    """A site of two processes, with batches of three slices, which they cannot halve."""
    path = tmp_path_factory.mktemp("site") / "site.yaml"
    path.write_text(SITE.format(cache=cache, processes=2))
    return load_site_config(path, "site-1")


@pytest.fixture(scope="module")
def trained(config: SiteConfig, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All jobs, trained by two processes: what each of them has."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{TESTS}", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, str(RANKS)]
    started = [
        subprocess.Popen([*command, str(rank), "2", str(config.file), str(folder)], env=environment) for rank in (0, 1)
    ]
    assert [process.wait(500) for process in started] == [0, 0]
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture
def processes(config: SiteConfig) -> Iterator[TrainingProcesses]:
    """Two processes that train FedMRI, ended by the end of the test."""
    found = TrainingProcesses(JOBS["FedMRI"], config)
    yield found
    found.close()


def apart(one: Any, other: Any) -> float:
    """The largest difference between two states, relative where values are above 1."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return max((apart(value, other[key]) for key, value in one.items()), default=0.0)
    if isinstance(one, Tensor):
        assert one.shape == other.shape and one.dtype == other.dtype
        differences = (one - other).double().abs() / other.double().abs().clamp(min=1)
        return float(differences.max()) if one.numel() else 0.0
    if isinstance(one, float):
        return abs(one - other)
    assert one == other
    return 0.0


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_give_the_numbers_of_one(config: SiteConfig, trained: list[dict[str, Any]], name: str) -> None:
    """Also each of them what the other has, to the bit: their networks do not come apart."""
    alone = train(JOBS[name], JOBS[name].build_task(config), 1)
    assert apart(alone[-1]["network"], alone[0]["network"]) > 1e-4  # there was something to learn
    for number in range(ROUNDS):
        first, second = (of_rank[name][number] for of_rank in trained)
        assert apart(first, second) == 0
        assert apart(first, alone[number]) < 1e-5


def test_a_process_that_dies_is_one_line_and_the_next_round_starts_anew(
    config: SiteConfig, processes: TrainingProcesses
) -> None:
    job = JOBS["FedMRI"]
    task = job.build_task(config)
    learner, alone = job.build_learner(task), job.build_learner(task)
    received = received_by(learner, 0)
    processes.start()
    folder = Path(processes._folder.name)  # type: ignore[union-attr]
    assert folder.stat().st_mode & 0o777 == 0o700
    pids = [process.popen.pid for process in processes._running]
    os.kill(pids[1], signal.SIGSTOP)  # the round begins, and rank 1 dies in it
    threading.Timer(1.0, os.kill, (pids[1], signal.SIGKILL)).start()
    with pytest.raises(InputError) as error:
        processes.train(learner, received, None, 0, lambda: False, PLAIN)
    told = str(error.value)
    assert told.startswith("site site-1: processes: expected 2 that train round 0, got rank 1 ended by SIGKILL")
    assert told.endswith("or set processes: 1 in site.yaml; then resume the job") and "\n" not in told
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()] and not folder.exists()
    for number in range(2):
        received = received_by(alone, number)
        expected = alone.train(received, number)
        report, update = processes.train(learner, received, None, number, lambda: False, PLAIN)
        assert report.loss == pytest.approx(expected.loss, abs=1e-5) and report.slices == expected.slices
        assert apart(update, alone.update()) < 1e-5
        assert apart(learner.private_state(), alone.private_state()) < 1e-5
        assert apart(learner.network.state_dict(), alone.network.state_dict()) < 1e-5
    os.kill(processes._running[0].popen.pid, signal.SIGSTOP)
    asked = time.monotonic()
    with pytest.raises(AbortedError, match="site site-1: aborted while its processes were to train round 2"):
        processes.train(learner, received, None, 2, lambda: time.monotonic() > asked + 0.5, PLAIN)
    assert not processes._running


def test_what_several_processes_cannot_train_is_refused_in_one_line(config: SiteConfig) -> None:
    job = JOBS["FedMRI"]
    task = job.build_task(config)
    where = rf"^site site-1, {config.file}: processes: "
    private = TrainingSettings(dp_noise_multiplier=1.0)
    with pytest.raises(InputError, match=where + "expected 1 for a job with differential privacy.*; set processes: 1$"):
        check_processes(config, private, task)
    many = config.model_copy(update={"processes": 4})
    with pytest.raises(InputError, match=where + "expected at most as many as slices in every batch, 3 .*, got 4"):
        check_processes(many, TrainingSettings(), task)
    one = config.model_copy(update={"device": "cuda:0"})
    with pytest.raises(InputError, match=where + "expected device auto, cuda or cpu with several.*, got cuda:0"):
        devices_of(one)
    gpus = config.model_copy(update={"device": "cuda"})
    if torch.cuda.device_count() < 2:
        with pytest.raises(InputError, match=where + r"expected at most this machine's \d GPUs, got 2; lower it"):
            check_processes(gpus, TrainingSettings(), task)
