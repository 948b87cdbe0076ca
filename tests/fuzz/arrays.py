# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays: masks (.npy, .npz, .mat) and examples.npz."""

import io
import os
import pickle
import struct
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mutators import Base, Case, Kind
from scipy.io import savemat

from flare_mri.config.mask import MaskSettings
from flare_mri.report.examples import load_examples
from flare_mri.transforms.masks import make_mask

SHAPE = (32, 24)
MASK = np.random.default_rng(0).random(SHAPE) < 0.4
MASK[16, 12] = True


class Exploit:
    """Unpickled, it makes a file: proof that something was run."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("/tmp/flare-mri-was-exploited",)


def npy(array: Any) -> bytes:
    """A `.npy` file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def header(text: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """A `.npy` file with a header of one's own."""
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text) + 1)
    return b"\x93NUMPY" + version + size + text.encode("latin1") + b"\n" + body


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive, the same for the same members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def mat(array: Any, packed: bool = True, **more: Any) -> bytes:
    """A MATLAB 5 file."""
    file = io.BytesIO()
    savemat(file, {"mask": array}, do_compression=packed, **more)
    content = bytearray(file.getvalue())
    content[:116] = b"MATLAB 5.0 MAT-file".ljust(116)  # without the date
    return bytes(content)


def hostile_headers() -> dict[str, bytes]:
    """Arrays in NumPy's format that are too large, of objects, or no Python."""
    shapes = (
        "(1000000000, 1000000000)",
        "(-1, 24)",
        "(32, 24, 10**9)",
        "(2**62, 4)",
        "(True, 24)",
        "32",
        "()",
        "(0,)",
        "(1e9,)",
    )
    texts = {f"shape {shape}": f"{{'descr': '|b1', 'fortran_order': False, 'shape': {shape}}}" for shape in shapes}
    kinds = (
        "'|O'",
        "'<M8[s]'",
        "'|V1000000000'",
        "'<U100000000'",
        "[('a', '<f8')]",
        "'<c16'",
        "1",
        "'|S8'",
        "'<f16'",
        "'zz'",
    )
    texts |= {f"type {kind}": f"{{'descr': {kind}, 'fortran_order': False, 'shape': {SHAPE}}}" for kind in kinds}
    texts |= {
        "deep brackets": "(" * 60000,
        "deep lists": "[" * 30000 + "]" * 30000,
        "a call": "__import__('os').mkdir('/tmp/flare-mri-was-exploited')",
        "no mapping": "[1, 2]",
        "nothing": "",
        "digits": f"{{'descr': '|b1', 'fortran_order': False, 'shape': ({'9' * 5000},)}}",
        "no shape": "{'descr': '|b1', 'fortran_order': False}",
        "a half string": "{'descr': '",
        "odd indents": "{'a':\n  1,\n\tb}",
    }
    found = {label: header(text, MASK.tobytes()) for label, text in texts.items()}
    found["a header of 4 GiB"] = b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(1000)
    found["version 9"] = header("{}", version=b"\x09\x00")
    found["a pickle"] = pickle.dumps(Exploit())
    found["an array of objects"] = npy(np.array([Exploit(), 1], object))
    return found


def mask_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """Masks in all formats; hostile headers in each container; zip bombs."""
    pack = {
        method: lambda inner, m=method: zipped({"mask.npy": inner}, m)
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    }
    bases = [
        Base("m.npy", npy(MASK)),
        Base("m.npz", npy(MASK), pack[zipfile.ZIP_DEFLATED]),
        Base("m.npz", npy(MASK.astype(float)), pack[zipfile.ZIP_STORED]),
        Base("m.mat", mat(MASK.astype(np.uint8))),
        Base("m.mat", mat(MASK.astype(float), packed=False)),
        Base("m.mat", mat(MASK.astype(np.uint8), packed=False)[128:], repacked),
        Base("m.mat", mat4(MASK.astype(float))),
    ]
    hostile = []
    for label, content in hostile_headers().items():
        hostile += [Case("m.npy", content, label), Case("m.npz", zipped({"mask.npy": content}), f"npz: {label}")]
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (8192, 8192)}"
    zeros = bytes(2**26)
    archives = {
        "a zip bomb": zipped({"mask.npy": header(text, zeros)}),
        "a bomb beside the mask": zipped({"mask.npy": npy(MASK), "images.npy": zeros}),
        "a bomb in the header": zipped({"mask.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**26) + zeros}),
        "LZMA": zipped({"mask.npy": npy(MASK)}, zipfile.ZIP_LZMA),
        "no mask": zipped({"a.npy": npy(MASK), "b.npy": npy(MASK)}),
        "20,000 members": zipped({f"{n}.npy": b"" for n in range(20000)}),
        "a member that leads out": zipped({"../../mask.npy": npy(MASK)}),
    }
    hostile += [Case("m.npz", content, label) for label, content in archives.items()]
    return bases, hostile + [Case("m.mat", content, label) for label, content in hostile_mats().items()]


def repacked(content: bytes) -> bytes:
    """A MATLAB 5 file of one packed variable, given unpacked."""
    packed = zlib.compress(content)
    return mat(MASK)[:128] + struct.pack("<II", 15, len(packed)) + packed


def mat4(array: np.ndarray) -> bytes:
    """A MATLAB 4 file."""
    file = io.BytesIO()
    savemat(file, {"mask": array}, format="4")
    return file.getvalue()


def hostile_mats() -> dict[str, bytes]:
    """Bombs, cells in cells, and variables that are no numbers."""
    start = mat(MASK)[:128]
    nested: Any = np.zeros(2)
    for _ in range(40):
        cell = np.empty((1, 1), object)
        cell[0, 0] = nested
        nested = cell
    deep = b""
    for _ in range(20000):  # a cell array that holds a cell array, by hand since SciPy would overflow writing it
        inner = (
            struct.pack("<IIII", 6, 8, 1, 0)
            + struct.pack("<IIii", 5, 8, 1, 1)
            + struct.pack("<II", 1, 4)
            + b"mask\0\0\0\0"
        )
        deep += struct.pack("<II", 14, 2**31 - 1) + inner
    zeros = struct.pack("<II", 14, 2**27) + bytes(2**27)
    return {
        "a bomb": repacked(zeros),
        "a wide mask": mat(np.zeros((2000, 2000))),
        "cells": mat(nested, packed=False),
        "cells in cells": start + deep,
        "packed cells in cells": repacked(deep),
        "a structure": mat({"a": {"b": MASK}}),
        "text": mat("text"),
        "complex": mat(MASK * 1j),
        "MATLAB 7.3": b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + bytes(600),
        "MATLAB 4, 4 GiB": struct.pack("<5I", 0, 2**15, 2**14, 0, 5) + b"mask\0" + bytes(99),
        "no variables": start,
        "two of one name": mat(nested, packed=False) + mat(MASK.astype(np.uint8))[128:],
    }


def read_masks(folder: Path) -> list[Any]:
    """The mask of whichever file is there."""
    nothing_ran()
    (path,) = folder.glob("m.*")
    mask = make_mask(MaskSettings(kind="file", path=path), SHAPE)
    return [mask if mask.shape == SHAPE and mask.dtype == bool else {"a mask": mask.shape}]


def nothing_ran() -> None:
    """Fails where unpickling made its folder."""
    if os.path.exists("/tmp/flare-mri-was-exploited"):
        raise AssertionError("code in a file was run")


def examples_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """A site's example images; each of its arrays made hostile."""
    images = np.random.default_rng(0).random((3, 8, 8), np.float32)
    members = {name: npy(images) for name in ("input", "output", "target")}
    members |= {name: npy(np.arange(3)) for name in ("volume", "slice", "score", "rank", "ranked")}
    members["features"] = npy(images[:, 0])

    def archive(inner: bytes, name: str = "input") -> bytes:
        return zipped({f"{key}.npy": inner if key == name else value for key, value in members.items()})

    name = "examples.npz"
    hostile = [Case(name, archive(content), label) for label, content in hostile_headers().items()]
    hostile += [
        Case(name, archive(content, member), f"{member}: {label}")
        for member in ("volume", "rank")
        for label, content in hostile_headers().items()
    ]
    huge = header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 65536, 65536)}", bytes(2**26))
    hostile.append(Case(name, archive(huge, "target"), "a zip bomb"))
    return [
        Base(name, members["input"], archive),
        Base(name, members["volume"], partial(archive, name="volume")),
    ], hostile


def read_examples(folder: Path) -> list[Any]:
    """Images, features and the slices' names."""
    nothing_ran()
    found = load_examples(folder / "examples.npz")
    return [found.input, found.output, found.target, found.features, [list(key) for key in found.keys]]


ARRAYS = [
    Kind("masks", 210, mask_files, read_masks),
    Kind("examples", 60, examples_files, read_examples),
]
