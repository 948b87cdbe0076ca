# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The private state of one hospital, on its own disk, outside FLARE's run folders."""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from flare_mri.errors import InputError
from flare_mri.tensor_file import pack_tensors

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_STATE = re.compile(r"round-([0-9]+)\.pt\Z")
_LOCK = "lock"
_LOCK_PATIENCE = 5.0  # seconds: where FLARE gives every task a process, the one before may still be ending


def check_name(kind: str, name: str) -> None:
    """See that a name can be part of a path and not lead out of it.

    Raises:
        InputError: it holds other than letters, digits, ".", "_" and "-".
    """
    if not _NAME.match(name):
        raise InputError(f"{kind} name {name!r}: expected letters, digits, '.', '_' and '-' only; rename it")


class SiteStore:
    """Keeps what must outlive a process and must never leave the site: decoder, optimizer, trajectory, best model.

    Every write is atomic (temporary file, fsync, rename), so a crash at any moment leaves the last complete state.

    Args:
        root: folder of the store, made if missing.
        job: name of the job; part of the path, so that two jobs never share state.
        site: name of the site.

    Raises:
        InputError: a name that could leave the folder, or a folder that cannot be written.
    """

    def __init__(self, root: str | Path, job: str, site: str):
        for kind, name in (("job", job), ("site", site)):
            check_name(kind, name)
        self.job = job
        self.site = site
        self.folder = Path(root) / job / site
        self._lock: IO[str] | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise InputError(
                f"site {site}: site store {self.folder} cannot be made ({e.strerror}); free or move it"
            ) from e

    def path(self, name: str) -> Path:
        """Path of the file called `name` in this store."""
        if not _NAME.match(name):
            raise InputError(f"site {self.site}: {name!r} is no file name for the site store")
        return self.folder / name

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write tensors and plain values (what ``torch.load(weights_only=True)`` reads back) to the file `name`."""
        self._write(name, lambda file: torch.save(state, file))

    def load(self, name: str) -> dict[str, Any] | None:
        """Read the file `name`; None where it was never written.

        Raises:
            InputError: the file is there and cannot be read.
        """
        path = self.path(name)
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise TypeError(f"a {type(state).__name__}, expected a dict")
            return state
        except Exception as e:  # torch raises many kinds for a damaged file; all mean the same to the reader
            raise InputError(
                f"site {self.site}: {path} cannot be read ({type(e).__name__}); move it away to start this site anew"
            ) from e

    def save_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write NumPy arrays to the compressed ``.npz`` file `name`."""
        self._write(name, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]

    def save_model(self, name: str, state: Mapping[str, torch.Tensor], description: Mapping[str, Any]) -> Path | None:
        """Write a model as safetensors, with `description` and a checksum as JSON in its metadata (``flare_mri``).

        Returns:
            Where the model that lay there before is kept now, one back; None where there was none.
        """
        content, _ = pack_tensors(state, description)
        path, former = self.path(name), self.path(f"former-{name}")
        kept = path.exists()
        if kept:
            self._write(former.name, lambda file: file.write(path.read_bytes()))
        self._write(name, lambda file: file.write(content))
        return former if kept else None

    def lock(self) -> None:
        """Hold this store until :meth:`unlock` or the end of the process; a second call changes nothing.

        Raises:
            InputError: another process holds it: a job of the same name runs here; or the store cannot be written.
        """
        if self._lock is not None:
            return
        path = self.path(_LOCK)
        try:
            file = path.open("a+")
        except OSError as e:
            raise InputError(
                f"site {self.site}: site store {self.folder} cannot be written ({e.strerror}); free or move it"
            ) from e
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as e:
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                file.seek(0)
                holder = file.read().strip() or "unknown"
                file.close()
                raise InputError(
                    f"site {self.site}: a job named {self.job!r} runs here already (process {holder}); wait for its "
                    "end or give this one another name"
                ) from e
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file

    def unlock(self) -> None:
        """Let the store go."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def save_round(self, number: int, state: dict[str, Any]) -> None:
        """Write the state after round `number`; of all others only the newest before it is kept."""
        self.save(f"round-{number}.pt", state)
        others = [other for other in self._rounds() if other != number]
        for other in others:
            if other != max((o for o in others if o < number), default=None):
                self.path(f"round-{other}.pt").unlink()

    def last_round(self, run: str, before: int) -> tuple[int, dict[str, Any]] | None:
        """The newest state that `run` left here before round `before`, with its round; None where there is none.

        A site that missed a round (it was away, or too late) goes on from its own last one.

        Raises:
            InputError: the newest state cannot be read.
        """
        for number in reversed(self._rounds()):
            state = self.load(f"round-{number}.pt") if number < before else None
            if state is not None and state["run"] == run:
                return number, state
        return None

    def forget_rounds(self) -> None:
        """Remove the states of all rounds: a run that starts at round 0 owes nothing to an older one."""
        for number in self._rounds():
            self.path(f"round-{number}.pt").unlink()

    def _rounds(self) -> list[int]:
        """Numbers of the rounds whose state is kept, ascending."""
        return sorted(int(found[1]) for path in self.folder.iterdir() if (found := _STATE.match(path.name)))

    def _write(self, name: str, write: Any) -> None:
        path = self.path(name)
        temporary = None
        try:
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=f".{name}.", delete=False) as file:
                temporary = Path(file.name)
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except (OSError, RuntimeError) as e:  # torch reports a full disk as RuntimeError
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise InputError(f"site {self.site}: cannot write {path} ({e}); the last complete state is kept") from e
