# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A hospital's private states of one run of a job, a file a round, apart from those of all other runs."""

import re
from pathlib import Path
from typing import Any

from flare_mri.errors import InputError
from flare_mri.networks.state_check import not_finite
from flare_mri.training.site_store import SiteStore

MOST_ROUNDS = 100_000
"""Far above any job's: a larger number is no round."""
OTHER_RUNS = 4
"""Runs of a job, besides the present one, whose last states are kept: a lead who reuses a name removes nothing."""

_RUN = re.compile(r"[0-9a-f]{32}\Z")
_STATE = re.compile(r"round-(0|[1-9][0-9]{0,5})\.pt\Z")


def check_run(run: Any) -> str:
    """The id of a run, as the server makes it; it is part of a path.

    Raises:
        InputError: it is no such id.
    """
    if not isinstance(run, str) or not _RUN.match(run):
        raise InputError(f"run id: expected 32 hexadecimal digits, got {run!r:.60}")
    return run


def check_round(number: Any) -> int:
    """The number of a round.

    Raises:
        InputError: it is none.
    """
    if type(number) is not int or not 0 <= number <= MOST_ROUNDS:
        raise InputError(f"round: expected a whole number from 0 to {MOST_ROUNDS}, got {number!r:.60}")
    return number


class RunStates:
    """The private states that a site keeps of a run: `<store>/<run>/round-N.pt`, of the last two rounds.

    Args:
        store: the site's store of the job.
        run: the run's id.

    Raises:
        InputError: no id of a run.
    """

    def __init__(self, store: SiteStore, run: str):
        self.store, self.run = store, check_run(run)
        self.folder = store.folder / run

    def save(self, number: int, state: dict[str, Any]) -> None:
        """Write the state after round `number`; of the run's others only the newest before it is kept.

        Of the job's other runs the :data:`OTHER_RUNS` newest are kept.

        Raises:
            InputError: no round's number, a tensor that is not finite (the last state stays), or the disk.
        """
        name = f"round-{check_round(number)}.pt"
        if where := not_finite(state):
            raise InputError(
                f"site {self.store.site}: private state after round {number}: {where} is not finite; it is not saved, "
                "the last good one is kept; lower the learning rate"
            )
        self.store.make_folder(self.folder)
        self.store.save(name, state, self.run)
        others = [other for other in self._rounds(self.folder) if other != number]
        newest = max((other for other in others if other < number), default=None)
        self._remove(self.folder, [other for other in others if other != newest])
        self._remove_old_runs()

    def last(self, before: int) -> tuple[int, dict[str, Any]] | None:
        """The newest state that the run left here before round `before`, with its round; None where there is none.

        A site that missed a round (it was away, or too late) goes on from its own last one.

        Raises:
            InputError: the newest state cannot be read.
        """
        for number in reversed(self._rounds(self.folder)):
            state = self.store.load(f"round-{number}.pt", self.run) if number < before else None
            if state is not None:
                return number, state
        return None

    def forget(self) -> None:
        """Remove the states of this run: started at round 0 again, it owes nothing to its first start."""
        self._remove(self.folder, self._rounds(self.folder))

    def old_files(self) -> str:
        """Names of states that an earlier version, which did not keep runs apart, left beside the runs; else empty."""
        return ", ".join(f"round-{number}.pt" for number in self._rounds(self.store.folder))

    def _rounds(self, folder: Path) -> list[int]:
        """Numbers of the rounds whose state lies in a folder, ascending."""
        with self.store.telling():
            if not folder.is_dir():
                return []
            return sorted(int(found[1]) for path in folder.iterdir() if (found := _STATE.match(path.name)))

    def _remove(self, folder: Path, numbers: list[int]) -> None:
        with self.store.telling():
            for number in numbers:
                (folder / f"round-{number}.pt").unlink()

    def _remove_old_runs(self) -> None:
        with self.store.telling():
            folders = [path for path in self.store.folder.iterdir() if _RUN.match(path.name) and path != self.folder]
            folders = [path for path in folders if path.is_dir() and not path.is_symlink()]
            newest_last = sorted(folders, key=lambda folder: (self._changed(folder), folder.name))
            for folder in newest_last[:-OTHER_RUNS]:
                self._remove(folder, self._rounds(folder))
                if not any(folder.iterdir()):  # what a person put there stays
                    folder.rmdir()

    def _changed(self, folder: Path) -> float:
        return max(((folder / f"round-{n}.pt").stat().st_mtime for n in self._rounds(folder)), default=0.0)
