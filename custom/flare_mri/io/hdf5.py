# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""HDF5 files from others: arrays that lie in the file itself, of bounded size, and short texts."""

import math
from pathlib import Path
from typing import Any

import h5py

from flare_mri.errors import InputError
from flare_mri.io.hdf5_lists import stored_lengths

MOST_CHUNK = 2**28
"""Bytes of a chunk; HDF5 unpacks a whole chunk for one value of it, and keeps it where the cache holds it."""
MOST_TEXT = 2**20
"""Bytes of a header."""


def is_there(group: h5py.Group, name: str) -> bool:
    """Whether a group has something of this name, a link that leads nowhere too."""
    return bool(group.id.links.exists(name.encode()))


def own_child(path: Path, group: h5py.Group, name: str, kind: type) -> Any:
    """A data set or group by its name; a link to another place or file is not followed.

    Args:
        path: the file, for messages.
        group: where to look.
        name: of a child that :func:`is_there`.
        kind: `h5py.Dataset` or `h5py.Group`.

    Raises:
        InputError: a link, another kind, or a data set whose values lie in other files.
    """
    what = "an array" if kind is h5py.Dataset else "a group"
    if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise InputError(f"{path}: {name}: expected {what} in this file, got a link; copy the array itself into it")
    child = group[name]
    if not isinstance(child, kind):
        raise InputError(f"{path}: {name}: expected {what}, got a {type(child).__name__.lower()}; leave the file out")
    if isinstance(child, h5py.Dataset) and (child.external or child.is_virtual):
        raise InputError(f"{path}: {name}: expected values in this file, got a reference to others; copy them into it")
    return child


def check_chunks(where: str, data: h5py.Dataset) -> None:
    """Refuses a data set whose chunks are larger than :data:`MOST_CHUNK`.

    Raises:
        InputError: they are.
    """
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > MOST_CHUNK:
        raise InputError(
            f"{where}: expected chunks of at most {MOST_CHUNK} bytes, got {list(data.chunks)}; use smaller ones"
        )


def read_text(path: Path, data: h5py.Dataset) -> str | None:
    """The one text in a data set of shape () or (1,); None where there is none, or more than :data:`MOST_TEXT`."""
    if data.shape not in ((), (1,)) or data.dtype.kind not in "SO" or data.dtype.itemsize > MOST_TEXT:
        return None
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > MOST_TEXT:
        return None
    if data.dtype.kind == "O":
        lengths = stored_lengths(path, data) if h5py.check_string_dtype(data.dtype) else None
        if lengths is None or lengths[0] > MOST_TEXT:
            return None
    value = data[()] if data.shape == () else data[0]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= MOST_TEXT else None
