# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Volumes on disk as float32 memory maps: each is read from its own format once, slices then cost a page fault.

Files are written under a temporary name and renamed, so several processes may share a folder. The folder holds images:
only its owner may read it.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from flare_mri.atomic_file import remove_unfinished
from flare_mri.config.site import SiteConfig
from flare_mri.datasets.cache_file import VOLUME_NAME, VolumeFile, check_file, write_file
from flare_mri.datasets.cache_folder import check_apart, claim_folder
from flare_mri.errors import InputError

_END = 4096  # bytes of either end of a file that its key looks at


class VolumeCache:
    """A site's folder of `.npy` files, bounded in size; the one used longest ago goes first.

    A file is checked against its digest when it is first opened here; a damaged one is made anew.

    Args:
        folder: `cache.folder` of the site; the volumes lie in a folder of their own in it, made with mode 0700.
        site: name of the site.
        limit_mb: most megabytes (2^20 bytes) that its volumes may take.

    Raises:
        InputError: the folder cannot be made or written to, or holds what this package has not put there.
    """

    def __init__(self, folder: Path, site: str, limit_mb: int):
        self.folder, self.limit = claim_folder(folder, site), limit_mb * 2**20
        self._checked: dict[str, VolumeFile] = {}
        self._mine: set[Path] = set()
        self._needed = 0
        remove_unfinished(self.folder, VOLUME_NAME.match)

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
                f"got {self.limit // 2**20}; raise it, take fewer slices (data.slices) or a smaller data.spatial_size"
            )
        with suppress(FileNotFoundError):  # another process has just evicted it
            os.utime(self.path(key))
        return volume

    def path(self, key: str) -> Path:
        """Returns the file of a key."""
        return self.folder / f"{key}.npy"

    def digest(self, key: str) -> str:
        """Returns the hex SHA-256 of a volume's shape and values; it was loaded before."""
        return self._checked[key].digest

    def load(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Returns the memory map, float32 [S, H, W], or the array just made where the file was missing or damaged."""
        mapped = self._checked[key].mapped() if key in self._checked else None
        if mapped is None and (checked := check_file(self.path(key))) is not None:
            self._checked[key] = checked
            mapped = checked.mapped()
        if mapped is not None:
            return mapped
        volume = np.ascontiguousarray(make(), np.float32)
        try:
            self._checked[key] = write_file(self.path(key), volume)
        except OSError as error:
            raise InputError(
                f"cache.folder: {self.folder}: expected a writable folder, got: {error}; set cache.folder"
            ) from error
        self._evict(keep=self.path(key))
        return volume

    def _evict(self, keep: Path) -> None:
        """Deletes volumes that were opened longest ago, but nothing that is in use here and no other file."""
        files = []
        for path in self.folder.iterdir():
            if VOLUME_NAME.match(path.name):
                with suppress(FileNotFoundError):  # another process evicts too
                    state = path.lstat()
                    files.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit:
                return
            if path != keep and path not in self._mine:
                path.unlink(missing_ok=True)
                total -= size


class CachedVolume:
    """A volume [S, H, W] whose slices are read when asked for; no file stays open, so one may hold thousands.

    `digest` is the hex SHA-256 of shape and values.
    """

    def __init__(self, cache: VolumeCache, key: str, make: Callable[[], np.ndarray]):
        self._cache, self._key, self._make = cache, key, make
        self.shape: tuple[int, ...] = cache.load(key, make).shape
        self.digest = cache.digest(key)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> np.ndarray:
        """Returns a copy of slice `index`, float32 [H, W], or of several, [N, H, W]."""
        return np.array(self._cache.load(self._key, self._make)[index])


def open_cache(config: SiteConfig) -> VolumeCache:
    """Opens the cache of a site.

    Raises:
        InputError: its folder overlaps the data, or as for :class:`VolumeCache`.
    """
    check_apart(config)
    return VolumeCache(config.cache.folder, config.site, config.cache.limit_mb)


def cache_key(files: tuple[Path, ...], settings: object) -> str:
    """Returns a key that changes with the files and with the settings, 32 hex digits.

    Raises:
        InputError: a file is gone or may not be read.
    """
    states = [_state(path) for path in files]
    return hashlib.sha256(json.dumps([states, settings], default=str).encode()).hexdigest()[:32]


def _state(path: Path) -> list[object]:
    """Values that change with a file's content, without reading it all: where it lies, size, times, and its two ends.

    Copying with times kept changes inode or ctime. Where a file system has neither, headers lie at the beginning, and
    gzip has a checksum of all at its end.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not hang; its reader refuses it
        try:
            state, ends = os.fstat(handle), hashlib.sha256()
            if stat.S_ISREG(state.st_mode):
                for place in (0, max(state.st_size - _END, 0)):
                    ends.update(os.pread(handle, _END, place))
        finally:
            os.close(handle)
        where = [str(path.resolve()), state.st_dev, state.st_ino, state.st_size]
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, got: {error.strerror}; mount the data") from error
    return [*where, state.st_mtime_ns, state.st_ctime_ns, ends.hexdigest()]
