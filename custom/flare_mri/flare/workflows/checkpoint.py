# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The server's last finished round, on its own disk, outside FLARE's run folders: FLARE 2.9 resumes no job."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.flare.executors.site import STORE_VARIABLE
from flare_mri.training import SiteStore

_FILE = "checkpoint.pt"
_SERVER = "server"
_MAY_DIFFER = {"num_rounds"}  # a finished job may be continued for longer


@dataclass(frozen=True)
class Checkpoint:
    """All a server needs to go on after a round.

    Attributes:
        run: the run's id; the sites' private states carry the same.
        finished: the last finished round, from 0.
        shared: the global shared part.
        method: what the method's server part keeps, see :meth:`flare_mri.methods.ServerHooks.state`.
        record: what results.json says so far.
        scale: what sizes of updates were last compared with; 0 where nothing was.
        extra_scale: the same of the further tensors of a method.
    """

    run: str
    finished: int
    shared: dict[str, Tensor]
    method: dict[str, Any]
    record: dict[str, Any]
    scale: float = 0.0
    extra_scale: float = 0.0


class RunStore:
    """Keeps the last finished round of a job, under the job's name.

    Every write is atomic, so a server killed at any moment has the last complete round. While a job runs it holds the
    store's lock: a second job of the same name would overwrite the first.

    Args:
        workspace_root: the server's FLARE folder; the store is ``run_store`` in it, or ``$FLARE_MRI_STORE``.
        job: name of the job.
    """

    def __init__(self, workspace_root: Path, job: str):
        root = os.environ.get(STORE_VARIABLE) or workspace_root / "run_store"
        self._store = SiteStore(root, job, _SERVER)
        self._job = job

    def lock(self) -> None:
        """Hold the store for this job until :meth:`unlock` or the end of the process.

        Raises:
            InputError: another process runs a job of this name.
        """
        self._store.lock()

    def unlock(self) -> None:
        """Release the store."""
        self._store.unlock()

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the kept round by this one."""
        self._store.save(_FILE, {**vars(checkpoint), "record": json.dumps(checkpoint.record)})

    def load(self, method: str, settings: Mapping[str, Any], num_rounds: int) -> Checkpoint:
        """The last finished round of this job.

        Args:
            method: the method that is to go on.
            settings: its settings, as results.json tells them; all but the number of rounds must be those of the run.
            num_rounds: rounds in all.

        Raises:
            InputError: there is none, or it is of another method, of other settings or longer than `num_rounds`.
        """
        state = self._store.load(_FILE)
        where = self._store.path(_FILE)
        if state is None:
            raise InputError(
                f"resume: no finished round of job {self._job!r} at {where}; correct the name or start it anew"
            )
        if unknown := sorted(state.keys() ^ {field.name for field in fields(Checkpoint)}):
            raise InputError(
                f"resume: {where}: expected a round of this version, got one of another version ({unknown[0]}); start "
                "the job under another name"
            )
        checkpoint = Checkpoint(**{**state, "record": json.loads(state["record"])})
        before = _comparable(checkpoint.record["settings"], checkpoint.record["method"])
        now = _comparable(json.loads(json.dumps(settings)), method)
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                there, here = _first_difference(before.get(key), now.get(key))
                raise InputError(f"resume: {key} was {there}, is now {here}; use the settings of {where}")
        if checkpoint.finished >= num_rounds:
            raise InputError(
                f"resume: {where} has {checkpoint.finished + 1} finished rounds, num_rounds is {num_rounds}; raise it"
            )
        return checkpoint


def _comparable(settings: Mapping[str, Any], method: str) -> dict[str, Any]:
    """What must be equal for a job to go on; a cosine over all rounds of the job is stretched with them."""
    kept = {key: value for key, value in settings.items() if key not in _MAY_DIFFER}
    training = kept.get("training")
    if isinstance(training, Mapping) and training.get("lr_rounds") == settings.get("num_rounds"):
        kept["training"] = {key: value for key, value in training.items() if key != "lr_rounds"}
    return {**kept, "method": method}


def _first_difference(one: Any, other: Any) -> tuple[Any, Any]:
    """The differing keys of two settings, without the equal ones."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)]
        return {key: one.get(key) for key in keys}, {key: other.get(key) for key in keys}
    return repr(one), repr(other)
