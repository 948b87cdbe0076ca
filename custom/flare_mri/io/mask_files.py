# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling masks in files: `.npy`, `.npz` or MATLAB's `.mat`."""

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from scipy.io import loadmat, whosmat

from flare_mri.errors import InputError
from flare_mri.files import read_bytes, read_member, read_npy

_MOST_MAT = 2**26  # bytes of a .mat file, packed and unpacked
_MAT_TYPES = {"double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
_PACKED = 15  # MATLAB's miCOMPRESSED


def read_mask(path: Path | None, shape: tuple[int, int]) -> np.ndarray:
    """Reads the array `mask` (or the file's only array), [H, W] or one row [W], of 0 and 1.

    Args:
        path: the file.
        shape: (H, W) of k-space; what has another shape is not read.

    Returns:
        bool [H, W], zero frequency at [H // 2, W // 2].

    Raises:
        InputError: no such file, no such array, of another size, not binary or not centred.
    """
    if path is None:
        raise InputError("mask.path: expected the mask file of kind 'file', got nothing; add it")
    if not os.path.isfile(path):
        raise InputError(f"mask.path: {path}: no such file; correct the path or copy the mask there")
    mask = _load(path, shape)
    if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
        raise InputError(f"mask.path: {path}: expected only 0 and 1, got {mask.dtype} values; store a binary mask")
    if mask.shape != shape:
        mask = np.tile(mask.reshape(1, -1), (shape[0], 1))
    if not mask[shape[0] // 2, shape[1] // 2]:
        raise InputError(
            f"mask.path: {path}: expected zero frequency in the middle to be sampled; apply fftshift to it"
        )
    return mask.astype(bool)


def _load(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The array of the file; its shape is one of those that :func:`read_mask` takes."""

    def accept(got: tuple[int, ...]) -> None:
        if got not in (shape, (1, shape[1]), shape[1:]):
            raise InputError(
                f"mask.path: {path}: expected the images' size {_size(shape)}, got {_size(got)}; "
                "give a mask of that size, or set data.spatial_size to the mask's size"
            )

    limit = 16 * shape[0] * shape[1]
    try:
        if path.suffix == ".mat":
            return _read_mat(path, accept)
        with path.open("rb") as file:
            if path.suffix == ".npz":
                with ZipFile(file) as archive:
                    name = _choose(path, [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")])
                    return read_member(archive, name, limit, accept)
            return read_npy(file, limit, accept)
    except InputError:
        raise
    # zipfile, zlib, struct, ast and SciPy raise nearly every built-in exception on damaged files.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"mask.path: {path}: cannot be read ({reason}); save it as .npy or MATLAB -v7") from error


def _read_mat(path: Path, accept: Callable[[tuple[int, ...]], None]) -> np.ndarray:
    content = _unpack(read_bytes(path, _MOST_MAT, "save it as .npy"))
    found = whosmat(BytesIO(content))
    name = _choose(path, [name for name, _, _ in found if not name.startswith("__")])
    for other, shape, kind in found:
        if other == name:
            if kind not in _MAT_TYPES:  # cells nest, and SciPy follows them until the stack overflows
                raise ValueError(f"{name} is of MATLAB's type {kind}, not of numbers")
            accept(tuple(int(size) for size in shape))
    return np.asarray(loadmat(BytesIO(content), variable_names=[name])[name])


def _unpack(content: bytes) -> bytes:
    """The same MATLAB 5 file with every variable inflated, since SciPy inflates without a bound."""
    if 0 in content[:4]:  # MATLAB 4, which never packs
        return content
    order = "<" if content[126:128] == b"IM" else ">"
    parts, at, room = [content[:128]], 128, _MOST_MAT
    while at + 8 <= len(content):
        kind, size = struct.unpack(f"{order}II", content[at : at + 8])
        part = content[at : at + 8 + size]
        if kind == _PACKED:
            inflater = zlib.decompressobj()
            part = inflater.decompress(part[8:], room + 1)
            if len(part) <= room and not inflater.eof:
                raise ValueError("a packed variable is cut short")
        room -= len(part)
        if room < 0:
            raise ValueError(f"its variables hold more than {_MOST_MAT} bytes")
        parts.append(part)
        at += 8 + size
    return b"".join(parts)


def _choose(path: Path, names: list[str]) -> str:
    name = "mask" if "mask" in names else names[0] if len(names) == 1 else None
    if name is None:
        shown = ", ".join(names[:8]) or "none"
        raise InputError(f"mask.path: {path}: expected an array 'mask', got {shown}; name it so")
    return name


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
