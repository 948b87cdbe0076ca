# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Files that a site keeps of a job on its own disk, outside FLARE's run folders."""

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from flare_mri.atomic_file import atomic_file, remove_unfinished
from flare_mri.config.names import NAME, check_name
from flare_mri.errors import InputError
from flare_mri.folders import private_folder
from flare_mri.networks.state_check import not_finite
from flare_mri.tensor_description import stored_description
from flare_mri.tensor_file import pack_tensors

_LOCK = "lock"
_LOCK_PATIENCE = 5.0  # seconds: where FLARE gives every task a process, the one before may still be ending


class SiteStore:
    """Keeps what must outlive a process and must never leave the site: the personal model, states of rounds, pictures.

    Every write is atomic (temporary file, fsync, rename), so a crash at any moment leaves the last complete file. The
    folders of job and site are this user's alone (mode 0700), as all files in them are (0600).

    Args:
        root: folder of the store, made if missing; one that is there stays as it is.
        job: name of the job; part of the path, so that two jobs never share a file.
        site: name of the site.

    Raises:
        InputError: a name that could leave the folder, a folder that cannot be written, or that is another user's.
    """

    def __init__(self, root: str | Path, job: str, site: str):
        for kind, name in (("job", job), ("site", site)):
            check_name(kind, name)
        self.job = job
        self.site = site
        self.folder = Path(root) / job / site
        self._lock: IO[str] | None = None
        self.make_folder(self.folder.parent)
        self.make_folder(self.folder)

    def make_folder(self, folder: Path) -> None:
        """Make a folder of the store, or see that it is this user's alone.

        Raises:
            InputError: it cannot be made, or others may write to it.
        """
        private_folder(folder, f"site {self.site}: site store")

    def path(self, name: str, run: str = "") -> Path:
        """Path of the file called `name` in this store, in the folder of a run if one is given."""
        if not NAME.match(name) or (run and not NAME.match(run)):
            raise InputError(f"site {self.site}: {name!r} is no file name for the site store")
        return self.folder / run / name

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Turns what the disk refuses into one line.

        Raises:
            InputError: names the site and its store.
        """
        try:
            yield
        except OSError as e:
            raise InputError(
                f"site {self.site}: site store {self.folder} cannot be read and written ({e.strerror or e}); free, "
                "repair or move it"
            ) from e

    def save(self, name: str, state: dict[str, Any], run: str = "") -> None:
        """Write tensors and plain values (what ``torch.load(weights_only=True)`` reads back) to the file `name`."""
        self._write(self.path(name, run), lambda file: torch.save(state, file))

    def load(self, name: str, run: str = "") -> dict[str, Any] | None:
        """Read the file `name`; None where it was never written.

        Raises:
            InputError: the file is there and cannot be read.
        """
        path = self.path(name, run)
        with self.telling():
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
        self._write(self.path(name), lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]

    def save_text(self, name: str, text: str, run: str = "") -> None:
        """Write text as UTF-8 to the file `name`."""
        self._write(self.path(name, run), lambda file: file.write(text.encode()))

    def save_model(
        self, name: str, state: Mapping[str, torch.Tensor], description: Mapping[str, Any], run: str = ""
    ) -> Path | None:
        """Write a model as safetensors, with `description` and a checksum as JSON in its metadata (``flare_mri``).

        Args:
            name: of the file.
            state: of the model.
            description: plain values.
            run: id of the run; a model of the same run is replaced, so that no number of tasks of one run moves the
                model of the run before away.

        Returns:
            Where the model of another run that lay there before is kept now, one back; None where there was none.

        Raises:
            InputError: a tensor is not finite, or the disk; both models that were there are still there.
        """
        path, former = self.path(name), self.path(f"former-{name}")
        if where := not_finite(state):
            raise InputError(
                f"site {self.site}: {name}: {where} is not finite; it is not saved, {path} stays as it was; lower the "
                "learning rate"
            )
        content, _ = pack_tensors(state, {**description, "run": run})
        with self.telling():
            kept = path.exists() and not (run and stored_description(path).get("run") == run)
            before = path.read_bytes() if kept else None
        if before is not None:
            self._write(former, lambda file: file.write(before))
        self._write(path, lambda file: file.write(content))
        return None if before is None else former

    def lock(self) -> None:
        """Hold this store until :meth:`unlock` or the end of the process; a second call changes nothing.

        What killed processes left half written is removed then.

        Raises:
            InputError: another process holds it: a job of the same name runs here; or the store cannot be written.
        """
        if self._lock is not None:
            return
        with self.telling():
            file = self._open_lock()
            try:
                self._await(file)
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
                runs = [path for path in self.folder.iterdir() if path.is_dir() and not path.is_symlink()]
                for folder in (self.folder, *runs):
                    remove_unfinished(folder, NAME.match)
            except BaseException:
                file.close()
                raise
        self._lock = file

    def _open_lock(self) -> IO[str]:
        """The lock's file: never one that a link leads to, which would be emptied."""
        path = self.path(_LOCK)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise InputError(f"site {self.site}: {path}: expected a plain file, got another thing; move it away")
        return os.fdopen(handle, "r+", errors="replace")

    def _await(self, file: IO[str]) -> None:
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                return fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as e:  # what POSIX allows for a lock that another holds
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                holder = file.read(20).strip() or "unknown"
                raise InputError(
                    f"site {self.site}: a job named {self.job!r} runs here already (process {holder}); wait for its "
                    "end or give this one another name"
                ) from e

    def unlock(self) -> None:
        """Release the store."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _write(self, path: Path, write: Callable[[IO[bytes]], object]) -> None:
        try:
            with atomic_file(path, mode=0o600) as file:
                write(file)
        except (OSError, RuntimeError) as e:  # torch reports a full disk as RuntimeError
            raise InputError(f"site {self.site}: cannot write {path} ({e}); the last complete state is kept") from e
