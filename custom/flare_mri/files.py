# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Files from others: how large they may be, checked before memory is taken for what they say they hold."""

import ast
import json
import math
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np

from flare_mri.errors import InputError

MOST_VOXELS = 2**28
"""Of one volume: 640 x 640 x 640, which is 1 GiB as float32."""
MOST_SLICE_VALUES = 2**26
"""Of one slice with all its coils: 8192 x 8192, or 256 coils of 512 x 512."""
DEFLATE_RATIO = 1032
"""Most bytes that deflate (gzip, zip, HDF5's filter) makes of one; a file that claims more cannot hold it."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # a surrogate, half of a character in JSON
_KINDS = {"b", "i", "u", "f", "U"}


@contextmanager
def reading(path: object, fix: str = "copy the file again or take it out of the folder") -> Iterator[None]:
    """Turns what the format libraries raise on a damaged file or folder into one InputError that names it."""
    try:
        yield
    except InputError:
        raise
    # The parsers of NIfTI, HDF5, DICOM, PNG, zip and YAML raise nearly every built-in exception and a dozen of their
    # own on damaged files (struct.error, SyntaxError and MemoryError among them); to the reader all mean the same.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: expected it to be readable, got: {reason[:200]}; {fix}") from error


def check_volume(where: object, shape: tuple[int, ...], itemsize: int, stored: int, packed: bool = False) -> None:
    """Refuses a volume that is too large, or larger than its file can hold.

    Args:
        where: file and array, for messages.
        shape: what the header says.
        itemsize: bytes of one voxel.
        stored: bytes of the file that may hold voxels.
        packed: whether they are compressed.

    Raises:
        InputError: an axis without voxels, over :data:`MOST_VOXELS`, or more than `stored` bytes can hold.
    """
    voxels, shown = math.prod(shape), "x".join(map(str, shape))
    if min(shape, default=0) < 1:
        raise InputError(f"{where}: expected sizes above 0, got {shown or 'no axes'}; export the file again")
    if voxels > MOST_VOXELS:
        raise InputError(
            f"{where}: expected at most {MOST_VOXELS} voxels in one volume, got {shown}; crop it or leave it out"
        )
    if voxels * itemsize > stored * (DEFLATE_RATIO if packed else 1):
        raise InputError(
            f"{where}: expected {voxels * itemsize} bytes for the {shown} voxels of the header, got a file that cannot "
            f"hold them ({stored} bytes); copy the file again or take it out of the folder"
        )


def check_matrix(where: object, slices: int, spatial_size: tuple[int, int]) -> None:
    """Refuses a spatial_size that makes a volume larger than :data:`MOST_VOXELS`.

    Raises:
        InputError: it does.
    """
    if slices * spatial_size[0] * spatial_size[1] > MOST_VOXELS:
        raise InputError(
            f"{where}: expected at most {MOST_VOXELS} voxels in one volume, got {slices} slices of "
            f"{spatial_size[0]}x{spatial_size[1]}; set a smaller data.spatial_size or take fewer slices"
        )


def check_file(path: Path, fix: str) -> None:
    """Refuses what is no regular file (a pipe would never end).

    Raises:
        InputError: it is none, or is not there.
    """
    if not os.path.isfile(path):
        what = "cannot be read (it is no file)" if os.path.lexists(path) else "no such file"
        raise InputError(f"{path}: {what}; {fix}")


def read_bytes(path: Path, limit: int, fix: str) -> bytes:
    """Reads a whole file of at most `limit` bytes.

    Raises:
        InputError: as :func:`check_file`, unreadable, or larger.
    """
    try:
        check_file(path, fix)
        size = path.stat().st_size
        if size > limit:
            raise InputError(f"{path}: expected at most {limit} bytes, got {size}; {fix}")
        with path.open("rb") as file:
            return file.read(limit)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); {fix}") from error


def read_json(path: Path, limit: int, fix: str) -> Any:
    """Reads JSON; NaN and infinities, which are no JSON, become None.

    Raises:
        InputError: as :func:`read_bytes`; no JSON, nested too deeply, or text that cannot be written again.
    """
    content = read_bytes(path, limit, fix)
    try:
        text = content.decode("utf-8")
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite, parse_int=_whole)
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails for half a pair, as writing it would later
        return value
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected JSON text, got a binary file; {fix}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}: not valid JSON ({error.msg}); {fix}") from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path}: expected JSON, got an error: {error}; {fix}") from error


def _finite(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None  # 1e999


def _whole(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError(f"a whole number of {len(digits)} digits")  # no count has them, and arithmetic would overflow
    return int(digits)


def read_npy(file: IO[bytes], limit: int, accept: Callable[[tuple[int, ...]], None] | None = None) -> np.ndarray:
    """Reads one array of real numbers or text from the NumPy format; nothing in it is ever unpickled.

    Args:
        file: at its start.
        limit: most bytes that the array may hold.
        accept: is called with the shape before the values are read and may raise.

    Raises:
        ValueError: another format, other values, more than `limit`, or cut short.
    """
    magic = file.read(10)
    if magic[:8] != b"\x93NUMPY\x01\x00" or len(magic) < 10:  # later versions are for what no file here holds
        raise ValueError("not in NumPy's format 1.0")
    header = file.read(struct.unpack("<H", magic[8:])[0])
    described = ast.literal_eval(header.decode("latin1").strip())
    shape, dtype = described["shape"], np.dtype(described["descr"])
    if dtype.kind not in _KINDS or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"an array of {dtype} with shape {shape}, not one of numbers")
    if accept is not None:
        accept(shape)
    size = math.prod(shape) * dtype.itemsize
    if size > limit:
        raise ValueError(f"an array of {size} bytes, at most {limit} are taken")
    content = file.read(size)
    if len(content) < size:
        raise ValueError(f"cut short: {len(content)} of {size} bytes")
    if dtype.kind == "U":
        codes = np.frombuffer(content, np.dtype("u4").newbyteorder(dtype.byteorder))
        if (codes > 0x10FFFF).any() or (codes >> 11 == 0xD800 >> 11).any():
            raise ValueError("text that is no Unicode")
    order: Any = "F" if described["fortran_order"] else "C"
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def read_member(archive: ZipFile, name: str, limit: int, accept: Callable[..., None] | None = None) -> np.ndarray:
    """Reads the array `name` of an open `.npz` as :func:`read_npy` does; other members are not touched.

    Raises:
        ValueError: as there, or a compression that NumPy does not write.
    """
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # LZMA takes memory for a dictionary before any check
        raise ValueError(f"compression {info.compress_type} of {name}, stored or deflated expected")
    with archive.open(info) as file:
        return read_npy(file, limit, accept)
