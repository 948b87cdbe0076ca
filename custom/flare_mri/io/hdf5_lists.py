# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Lists of any length in HDF5 files from others, looked at before HDF5 itself reads them.

HDF5 takes memory for the length that a list claims, and goes on for ever in a damaged heap, which is where the lists
lie ("HDF5 File Format Specification", III.E, global heap). So both are looked through first, from the plain file.
"""

import struct
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from flare_mri.errors import InputError

_REFERENCE = struct.Struct("<IQI")  # length of a list, place of its heap, number in it
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, size
_OBJECT = struct.Struct("<HH4xQ")  # number, references, size
_MOST_HEAP = 2**28  # bytes


def stored_lengths(path: Path, data: h5py.Dataset, field: str | None = None) -> np.ndarray | None:
    """Numbers of elements of the lists of a data set; none of them is read, and the heaps that hold them are checked.

    Args:
        path: the file.
        data: of shape () or [N], of lists or texts, or of records with them.
        field: name of the lists' field in the records.

    Returns:
        int64 [N], or [1]; None where they cannot be seen: packed, in an object's header, or in a file of other sizes.

    Raises:
        InputError: a heap is damaged.
    """
    if not data.size or data.id.get_create_plist().get_nfilters() or len(data.shape) > 1:
        return None
    if data.file.id.get_create_plist().get_sizes() != (8, 8):
        return None
    records = _places(data)
    if records is None:
        return None
    step, first = (_REFERENCE.size, 0) if field is None else (data.dtype.itemsize, data.dtype.fields[field][1])
    lengths, heaps = np.zeros(data.size, np.int64), set()  # what is not stored is empty
    with path.open("rb") as file:
        for row, rows, offset in records:
            for index in range(row, min(row + rows, data.size)):
                length, heap, _ = _REFERENCE.unpack(_read(file, path, offset + (index - row) * step + first, 16))
                lengths[index] = length
                if length:
                    heaps.add(heap)
        for heap in sorted(heaps):
            _check_heap(file, path, data.file.userblock_size + heap)
    return lengths


def _places(data: h5py.Dataset) -> list[tuple[int, int, int]] | None:
    """First row, number of rows and place in the file of each stored part of a data set."""
    if not data.chunks:
        offset = data.id.get_offset()
        return None if offset is None else [(0, data.size, offset)]
    found: list[tuple[int, int, int]] = []

    def add(info: h5py.h5d.StoreInfo) -> None:
        found.append((info.chunk_offset[0], data.chunks[0], info.byte_offset))

    data.id.chunk_iter(add)
    return found


def _read(file: IO[bytes], path: Path, offset: int, size: int) -> bytes:
    file.seek(min(offset, 2**62))
    content = file.read(size)
    if len(content) < size:
        raise InputError(f"{path}: expected a whole HDF5 file, got one that is cut short; copy the file again")
    return content


def _check_heap(file: IO[bytes], path: Path, offset: int) -> None:
    """Objects in a row, each with a size, up to the heap's end."""
    signature, version, size = _HEAP.unpack(_read(file, path, offset, _HEAP.size))
    if signature == b"GCOL" and version == 1 and _HEAP.size <= size <= _MOST_HEAP:
        place, end = _HEAP.size, size
        while end - place >= _OBJECT.size:
            number, _, length = _OBJECT.unpack(_read(file, path, offset + place, _OBJECT.size))
            # Object 0 is what is free, with its own header; others are followed by their content, in steps of 8 bytes.
            taken = length if number == 0 else _OBJECT.size + (length + 7) // 8 * 8
            if taken < _OBJECT.size or taken > end - place:
                break
            place += taken
        else:
            return
    raise InputError(f"{path}: expected a whole HDF5 file, got one with a damaged heap; copy the file again")
