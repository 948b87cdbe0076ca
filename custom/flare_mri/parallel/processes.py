# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The processes of a site's training, as FLARE's process starts, asks and ends them."""

import dataclasses
import io
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import flare_mri
from flare_mri.config.site import SiteConfig
from flare_mri.errors import InputError
from flare_mri.parallel.devices import devices_of
from flare_mri.parallel.local_job import Computing, LocalJob
from flare_mri.parallel.messages import plain, read_message, write_message
from flare_mri.training import AbortedError, Learner, RoundReport
from flare_mri.training.task import Abort

State = dict[str, Tensor]
Answer = dict[str, Any]

_LOOK = 0.2  # seconds between looks at the abort signal and at processes that ended
_SETTLE = 3.0  # seconds in which others that fail with the first one may say so
_FAREWELL = 5.0  # seconds in which a process ends by itself
_WORKER = "flare_mri.parallel.worker"


class ProcessError(RuntimeError):
    """A process of a site's training met an error that nobody foresaw; the message ends with one line about it."""


class _Process:
    """One of them, with both ends of its conversation."""

    def __init__(self, rank: int, folder: Path):
        self.rank, self.log = rank, folder / f"rank-{rank}.log"
        reading, writing = os.pipe()
        try:
            with self.log.open("wb") as log:
                self.popen = subprocess.Popen(
                    [sys.executable, "-m", _WORKER, str(writing)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(writing,),
                    env=_environment(),
                    bufsize=0,
                    start_new_session=True,  # what ends FLARE's process ends it by the end of its input
                )
        finally:
            os.close(writing)
        self.answers = io.FileIO(reading, "r")

    def ask(self, values: Mapping[str, Any]) -> None:
        """Give it a message."""
        assert isinstance(self.popen.stdin, io.FileIO)
        with suppress(BrokenPipeError):  # it is gone, as waiting for its answer will tell
            write_message(self.popen.stdin, values)

    def end(self, patience: float = 0.0) -> None:
        """End it: by itself in that many seconds, or else at once."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(patience)
        self.popen.kill()
        self.popen.wait()
        self.answers.close()

    def last_line(self) -> str:
        """The end of what it wrote."""
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line.strip()[-300:] for line in reversed(lines) if line.strip()), "nothing")


class TrainingProcesses:
    """N processes that train one site's network, kept from round to round; with them goes all that they wrote.

    Args:
        job: as it is at this site.
        config: of the site, with `processes`.

    Raises:
        InputError: as :func:`~flare_mri.parallel.devices.devices_of`.
    """

    def __init__(self, job: LocalJob, config: SiteConfig):
        self.job, self.config = job, config
        self._devices = devices_of(config)
        self._running: list[_Process] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        weakref.finalize(self, _end, self._running)

    def described(self) -> str:
        """How many they are, and where."""
        return f"trains in {len(self._devices)} processes, on {' and '.join(self._devices)}"

    def start(self, abort: Abort = lambda: False) -> None:
        """Start them, if they do not run, and wait until each has read the site's data.

        Raises:
            InputError: one of them cannot train, or ended.
            ProcessError: one of them met another error.
            AbortedError: `abort` said so.
        """
        if self._running:
            return
        self._folder = tempfile.TemporaryDirectory(prefix="flare-mri-")  # for its owner only
        folder, count = Path(self._folder.name), len(self._devices)
        self._running.extend(_Process(rank, folder) for rank in range(count))
        common = {
            "job": dataclasses.asdict(self.job),
            "site": self.config.site,
            "file": None if self.config.file is None else str(self.config.file),
            "meeting": str(folder / "meeting"),
            "processes": count,
            "threads": max(1, torch.get_num_threads() // count),
        }
        for process, device in zip(self._running, self._devices, strict=True):
            process.ask({**common, "rank": process.rank, "device": device})
        self._wait(abort, "start")

    def train(
        self,
        learner: Learner,
        received: Mapping[str, Tensor],
        message: Any,
        round_number: int,
        abort: Abort,
        computing: Computing,
    ) -> tuple[RoundReport, State]:
        """Train a round, as :meth:`Learner.train` does in one process; the learner has its result afterwards.

        Args:
            learner: the site's, restored.
            received: as :meth:`Learner.receive` takes it, checked.
            message: the method's message, as the server sent it.
            round_number: of the job, from 0.
            abort: asked all the time; True ends the processes.
            computing: as of :meth:`LocalJob.build_learner`.

        Returns:
            The report, and what the site returns (:meth:`Learner.update`).

        Raises:
            InputError: the round cannot be trained, or a process ended.
            ProcessError: one of them met another error.
            AbortedError: `abort` said so.
        """
        self.start(abort)
        own = {"best": learner.best, "left_over": learner.feedback.left_over}  # of no use to training
        request = {
            "round": round_number,
            "received": dict(received),
            "message": plain(message),
            "computing": dataclasses.asdict(computing),
            "state": {**learner.private_state(), "best": None, "left_over": {}},
        }
        for process in self._running:
            process.ask(request)
        answer = self._wait(abort, f"train round {round_number}")
        learner.restore({**answer["state"], **own}, round_number)
        update = answer["update"]
        learner.network.load_state_dict({key: update[key] for key in learner.shared}, strict=False)
        return RoundReport(answer["loss"], answer["slices"], answer["seconds"]), update

    def close(self) -> None:
        """End them, where they run."""
        _end(self._running, _FAREWELL)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _wait(self, abort: Abort, what: str) -> Answer:
        """The first process's answer, once all have answered."""
        answers: dict[int, Answer | None] = {}
        while len(answers) < len(self._running):
            if abort():
                _end(self._running)
                raise AbortedError(f"site {self.config.site}: aborted while its processes were to {what}")
            answers |= self._look(answers)
            if any(_failed(answer) for answer in answers.values()):
                self._fail(answers, what)
        first = answers[0]
        assert first is not None
        return first

    def _look(self, answers: Mapping[int, Answer | None]) -> dict[int, Answer | None]:
        """New answers by rank; None for a process that ended without one."""
        pending = [process for process in self._running if process.rank not in answers]
        ended = [process for process in pending if process.popen.poll() is not None]
        ready, _, _ = select.select([process.answers for process in pending], [], [], 0 if ended else _LOOK)
        found: dict[int, Answer | None] = {process.rank: None for process in ended}
        return found | {process.rank: read_message(process.answers) for process in pending if process.answers in ready}

    def _fail(self, answers: dict[int, Answer | None], what: str) -> None:
        """Raise the one error that is the cause: others fail because the first one did."""
        deadline = time.monotonic() + _SETTLE
        while len(answers) < len(self._running) and time.monotonic() < deadline:
            answers |= self._look(answers)
        site, count = self.config.site, len(self._running)
        failed = {rank: answer for rank, answer in answers.items() if _failed(answer)}
        silent = [self._running[rank] for rank, answer in failed.items() if answer is None]
        if silent:
            process = silent[0]
            with suppress(subprocess.TimeoutExpired):
                process.popen.wait(_FAREWELL)
            ended, last = _end_of(process.popen), process.last_line()
            self.close()
            raise InputError(
                f"site {site}: processes: expected {count} that {what}, got rank {process.rank} {ended}, which last "
                f"wrote {last!r}; where memory ran out, lower batch_size or workers, or set processes: 1 in site.yaml; "
                "then resume the job"
            )
        rank, answer = min(((r, a) for r, a in failed.items() if a is not None), key=lambda pair: pair[1]["at"])
        self.close()
        if answer["foreseen"]:
            raise InputError(answer["error"])
        last = answer["error"].strip().splitlines()[-1]
        raise ProcessError(
            f"{answer['error']}\nsite {site}: processes: expected {count} that {what}, got rank {rank} with {last}"
        )


def _failed(answer: Answer | None) -> bool:
    return answer is None or "error" in answer


def _end(processes: list[_Process], patience: float = 0.0) -> None:
    for process in processes:
        process.end(patience)
    processes.clear()


def _end_of(popen: subprocess.Popen[bytes]) -> str:
    """How a process ended, in words."""
    status = popen.poll()
    if status is None:
        return "that answers no more"
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _environment() -> dict[str, str]:
    """This package for the process, wherever it was imported from, and sockets on the loopback interface alone."""
    package = str(Path(flare_mri.__file__).parents[1])
    path = os.pathsep.join([package, *(part for part in sys.path if part)])
    return {**os.environ, "PYTHONPATH": path, "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
