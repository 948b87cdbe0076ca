# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Start, find and end the processes of a startup kit, those that FLARE starts for its jobs included.

FLARE gives every job process a session of its own, and a job process outlives a parent that was killed. So neither
process groups nor parents lead to all of them; an environment variable, which every descendant inherits, does.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "FLARE_MRI_KIT"


@dataclass(frozen=True)
class Process:
    """A process that belongs to a kit."""

    pid: int
    kit: Path
    argv: tuple[str, ...]

    def runs_job(self, job: str) -> bool:
        """Whether this is the process that FLARE started for a job, which gives it ``-n <job id>``."""
        return any(pair == ("-n", job) for pair in zip(self.argv, self.argv[1:], strict=False))


def start(kit: Path, environment: Mapping[str, str], log: Path, supervised: bool = False) -> subprocess.Popen:
    """Start a server's or a site's kit in a process group of its own.

    Args:
        kit: the folder that holds ``startup`` and ``local``.
        environment: the whole environment of the process.
        log: where what it prints is appended.
        supervised: as ``startup/start.sh`` does, under FLARE's shell script that starts a dead site again.

    Returns:
        The site's process itself or, supervised, the script's.
    """
    command = [str(kit / "startup" / "sub_start.sh"), *([] if supervised else ["--once"])]
    with log.open("a") as stream:
        return subprocess.Popen(
            command,
            env={**environment, MARK: str(kit)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def find(folder: Path) -> list[Process]:
    """Every living process of the kits in a folder, or of the one kit that the folder is."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            argv = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:  # another user's, or it has just ended
            continue
        kits = [Path(os.fsdecode(v[len(MARK) + 1 :])) for v in environment if v.startswith(f"{MARK}=".encode())]
        if kits and kits[0].is_relative_to(folder):
            found.append(Process(int(entry.name), kits[0], tuple(map(os.fsdecode, argv))))
    return found


def end(folder: Path, started: Iterable[subprocess.Popen], seconds: float = 5.0) -> None:
    """End every process of the kits in a folder: ask, wait, then kill.

    Args:
        folder: the kits' folder, or one kit.
        started: what :func:`start` returned for them; ended ones are reaped.
        seconds: how long they may take to end by themselves; 0 kills at once.

    Raises:
        RuntimeError: a process could not be killed.
    """
    started = list(started)
    signals = [signal.SIGTERM, signal.SIGKILL] if seconds else [signal.SIGKILL]
    for number in signals:
        deadline = time.monotonic() + (seconds if number == signal.SIGTERM else 10.0)
        send(number, find(folder))
        while find(folder) and time.monotonic() < deadline:
            if number == signal.SIGKILL:  # a process may have had a child between the look and the kill
                send(number, find(folder))
            time.sleep(0.1)
            for process in started:
                process.poll()
    if left := find(folder):
        raise RuntimeError(f"{folder}: processes {[p.pid for p in left]} do not end; look at them with ps")
    for process in started:
        process.wait(timeout=10)


def send(number: signal.Signals, processes: Iterable[Process]) -> None:
    """Send a signal to those that still live."""
    for process in processes:
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            continue


@contextlib.contextmanager
def exit_on_termination() -> Iterator[None]:
    """Make SIGTERM an exception, so that ``with`` cleans up; only a main thread may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def deaf_to_signals() -> Iterator[None]:
    """Let a second Ctrl-C not cut short the cleaning up after the first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
