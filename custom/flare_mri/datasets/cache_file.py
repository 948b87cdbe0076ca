# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""One cached volume: a float32 `.npy` file with the SHA-256 of its shape and values behind them."""

import hashlib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flare_mri.atomic_file import atomic_file

VOLUME_NAME = re.compile(r"[0-9a-f]{32}\.npy\Z")
"""Names of cached volumes; no other file of a cache folder is ever counted or removed, but unfinished ones."""

_DIGEST_SIZE = hashlib.sha256().digest_size


@dataclass(frozen=True)
class VolumeFile:
    """A file whose values have been checked against their digest, and where in it they lie."""

    path: Path
    inode: int
    size: int
    offset: int
    shape: tuple[int, ...]
    digest: str

    def mapped(self) -> np.ndarray | None:
        """The memory map; None where the file is gone or is another one by now."""
        try:
            with self.path.open("rb") as file:
                state = os.fstat(file.fileno())
                if (state.st_ino, state.st_size) != (self.inode, self.size):
                    return None
                return np.memmap(file, np.float32, "r", self.offset, self.shape)
        except OSError:  # evicted by another process
            return None


def check_file(path: Path) -> VolumeFile | None:
    """Reads a whole file once; None where it is not there, cut short, of another format or damaged."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
            offset, state = file.tell(), os.fstat(file.fileno())
            end = offset + math.prod(shape) * dtype.itemsize
            if by_columns or dtype != np.float32 or state.st_size != end + _DIGEST_SIZE:
                return None
            digest = _digest(np.memmap(file, np.float32, "r", offset, shape))
            file.seek(end)
            if file.read() != digest.digest():
                return None
    # NumPy parses the header as Python, whose tokenizer and parser raise what they like; the volume is made anew.
    except Exception:
        return None
    return VolumeFile(path, state.st_ino, state.st_size, offset, shape, digest.hexdigest())


def write_file(path: Path, volume: np.ndarray) -> VolumeFile:
    """Writes a volume, float32 in C order, that only its owner may read.

    Raises:
        OSError: the folder cannot be written to or the disk is full; nothing is left behind.
    """
    digest = _digest(volume)
    with atomic_file(path, mode=0o600, sync=False) as file:
        np.lib.format.write_array(file, volume, version=(1, 0))
        file.write(digest.digest())
        file.flush()
        state = os.fstat(file.fileno())
    offset = state.st_size - _DIGEST_SIZE - volume.nbytes
    return VolumeFile(path, state.st_ino, state.st_size, offset, volume.shape, digest.hexdigest())


def _digest(volume: np.ndarray) -> "hashlib._Hash":
    digest = hashlib.sha256(f"float32 {list(volume.shape)} ".encode())
    digest.update(volume.data.cast("B"))
    return digest
