# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The private state of one hospital, on its own disk, outside FLARE's run folders."""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from flare_mri.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


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
            if not _NAME.match(name):
                raise InputError(f"{kind} name {name!r}: expected letters, digits, '.', '_' and '-' only; rename it")
        self.site = site
        self.folder = Path(root) / job / site
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
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as e:  # torch raises many kinds for a damaged file; all mean the same to the reader
            raise InputError(
                f"site {self.site}: {path} cannot be read ({type(e).__name__}); move it away to start this site anew"
            ) from e

    def save_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write NumPy arrays to the compressed ``.npz`` file `name`."""
        self._write(name, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]

    def save_model(self, name: str, state: dict[str, torch.Tensor], description: dict[str, Any]) -> None:
        """Write a model as safetensors, with `description` as JSON in its metadata (``flare_mri``)."""
        tensors = {key: value.contiguous() for key, value in state.items()}
        content = safetensors.torch.save(tensors, {"flare_mri": json.dumps(description)})
        self._write(name, lambda file: file.write(content))

    def remove(self, name: str) -> None:
        """Remove a file that is no longer needed; one that is not there is no error."""
        self.path(name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove every file: a run that starts at round 0 owes nothing to an older one."""
        for path in self.folder.iterdir():
            if path.is_file():
                path.unlink()

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
