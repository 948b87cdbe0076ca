# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Volumes on disk as float32 memory maps: each is read from its own format once, slices then cost a page fault.

Files are written under a temporary name and renamed, so several processes may share a folder. The folder holds images:
only its owner may read it.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from flare_mri.errors import InputError

_WRITING_TIME = 3600.0  # seconds after which a temporary file was left by a process that died


class VolumeCache:
    """A folder of `.npy` files, bounded in size; the one used longest ago goes first.

    Args:
        folder: made if missing, with mode 0700.
        limit_mb: most megabytes (2^20 bytes) that the folder may hold.

    Raises:
        InputError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, limit_mb: int):
        self.folder, self.limit = folder, limit_mb * 2**20
        self._mine: set[Path] = set()
        self._needed = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def open(self, key: str, make: Callable[[], np.ndarray]) -> "CachedVolume":
        """Returns the volume under `key`, from the folder or newly made.

        Args:
            key: from `cache_key`.
            make: returns float32 [S, H, W].

        Raises:
            InputError: the volumes opened here need more than the limit, or the disk is full.
        """
        volume = CachedVolume(self, key, make)
        if self.path(key) not in self._mine:
            self._mine.add(self.path(key))
            self._needed += 4 * int(np.prod(volume.shape))
        if self._needed > self.limit:
            raise InputError(
                f"cache.limit_mb: expected over {self._needed / 2**20:.1f} for {len(self._mine)} volumes or more, "
                f"got {self.limit // 2**20}; raise it, take fewer slices (data.slices) or a smaller data.matrix"
            )
        with suppress(OSError):  # another user's cache may be read but not touched
            os.utime(self.path(key))
        return volume

    def path(self, key: str) -> Path:
        """Returns the file of a key."""
        return self.folder / f"{key}.npy"

    def load(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Returns the memory map, float32 [S, H, W], or the array just made where the file was missing or damaged."""
        path = self.path(key)
        mapped = _mapped(path)
        if mapped is not None:
            return mapped
        volume = np.ascontiguousarray(make(), np.float32)
        self._write(path, volume)
        return volume

    def _write(self, path: Path, volume: np.ndarray) -> None:
        try:
            handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    np.save(file, volume)
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise self._unwritable(error) from error
        self._evict(keep=path)

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"cache.folder: {self.folder}: expected a writable folder, got: {error}; set cache.folder")

    def _evict(self, keep: Path) -> None:
        """Deletes what was opened longest ago, left-over temporary files too, but nothing that is in use here."""
        files = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process evicts too
                state = path.stat()
                if path.suffix != ".tmp" or state.st_mtime < time.time() - _WRITING_TIME:
                    files.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit:
                return
            if path != keep and path not in self._mine:
                path.unlink(missing_ok=True)
                total -= size


class CachedVolume:
    """A volume [S, H, W] whose slices are read when asked for; no file stays open, so one may hold thousands."""

    def __init__(self, cache: VolumeCache, key: str, make: Callable[[], np.ndarray]):
        self._cache, self._key, self._make = cache, key, make
        self.shape: tuple[int, ...] = cache.load(key, make).shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> np.ndarray:
        """Returns a copy of slice `index`, float32 [H, W], or of several, [N, H, W]."""
        return np.array(self._cache.load(self._key, self._make)[index])


def _mapped(path: Path) -> np.ndarray | None:
    """The memory map; None where the file is not there, evicted by another process, cut short or damaged."""
    try:
        mapped = np.load(path, mmap_mode="r")
    # NumPy parses the header as Python, whose tokenizer and parser raise what they like; the volume is made anew.
    except Exception:
        return None
    return mapped if isinstance(mapped, np.ndarray) and mapped.dtype == np.float32 else None


def site_folder(folder: Path, site: str) -> Path:
    """The cache folder of one site.

    Raises:
        InputError: a name that leads out of `folder`.
    """
    if site in ("", ".", "..") or "/" in site or "\0" in site:
        raise InputError(f"site {site[:200]!r}: expected a name that can name a folder, got another; rename the site")
    return folder / site


def cache_key(files: tuple[Path, ...], settings: object) -> str:
    """Returns a key that changes with the files' paths, sizes and times and with the settings.

    Raises:
        InputError: a file is gone.
    """
    try:
        states = [(str(path.resolve()), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
    except OSError as error:
        raise InputError(
            f"{error.filename}: expected a readable file, got: {error.strerror}; mount the data"
        ) from error
    return hashlib.sha256(json.dumps([states, settings], default=str).encode()).hexdigest()[:32]
