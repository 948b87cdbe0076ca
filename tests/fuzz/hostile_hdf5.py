# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""fastMRI files that ask for more than they hold, or lead out of themselves."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from mutators import Base, Case

VOLUME = np.random.default_rng(0).random((4, 12, 10), np.float32) + 1
NAME, ESC = "a.h5", "reconstruction_esc"


def hdf5_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """Valid files, contiguous and compressed, single- and multi-coil; hostile ones."""
    coils = np.stack([VOLUME, 1j * VOLUME], 1).astype(np.complex64)
    bases = [
        _made(folder, lambda file: file.create_dataset(ESC, data=VOLUME)),
        _made(
            folder,
            lambda file: file.create_dataset(ESC, data=VOLUME, compression="gzip", shuffle=True, fletcher32=True),
        ),
        _made(folder, lambda file: file.create_dataset("kspace", data=coils)),
    ]
    secret = folder.parent / "secret.h5"
    with h5py.File(secret, "w") as file:
        file[ESC] = VOLUME
    (folder.parent / "secret.raw").write_bytes(VOLUME.tobytes())
    hostile = {**_huge(), **_outside(secret), **_odd()}
    return [Base(NAME, content) for content in bases], [
        Case(NAME, _made(folder, make), label) for label, make in hostile.items()
    ]


def _made(folder: Path, make: Callable[[h5py.File], object]) -> bytes:
    path = folder / "made.tmp"
    with h5py.File(path, "w", libver="latest" if make.__name__ == "latest" else "earliest") as file:
        make(file)
    content = path.read_bytes()
    path.unlink()
    return content


def _dataset(name: str = ESC, fill: bool = False, **more) -> Callable[[h5py.File], object]:
    """A data set of which nothing, or one value, is stored."""

    def make(file: h5py.File) -> None:
        data = file.create_dataset(name, **more)
        if fill:
            data[(0,) * data.ndim] = 1

    return make


def _huge() -> dict[str, Callable[[h5py.File], object]]:
    """Shapes that no memory holds, or none that the file could fill."""
    zeros = np.zeros((2, 2048, 2048), np.float32)
    return {
        "huge, nothing stored": _dataset(shape=(2**20, 2**15, 2**15), dtype="f4"),
        "huge and chunked, nothing stored": _dataset(
            shape=(2**20, 2**15, 2**15), dtype="f4", chunks=(1, 64, 64), fillvalue=7
        ),
        "huge and chunked, one chunk stored": _dataset(
            fill=True, shape=(512, 4096, 4096), dtype="f4", chunks=(1, 64, 64), compression="gzip"
        ),
        "a slice of 4 GiB": _dataset(shape=(1, 2**15, 2**15), dtype="f4", chunks=(1, 64, 64), compression="gzip"),
        "below the limit, nothing stored": _dataset(
            shape=(64, 1024, 1024), dtype="f4", chunks=(1, 64, 64), fillvalue=1
        ),
        "a chunk of 1 GiB": _dataset(
            shape=(4, 16, 16), dtype="f4", maxshape=(None, None, None), chunks=(256, 1024, 1024)
        ),
        "zeros, well compressed": _dataset(data=zeros, chunks=(1, 2048, 2048), compression="gzip", compression_opts=9),
        "scale-offset": _dataset(data=zeros.astype(np.int32), chunks=(1, 512, 512), scaleoffset=True),
        "2^40 coils": _dataset("kspace", shape=(4, 2**40, 8, 8), dtype="c8", chunks=(1, 1, 8, 8)),
        "no coils": _dataset("kspace", shape=(4, 0, 8, 8), dtype="c8"),
        "no slices": _dataset(shape=(0, 8, 8), dtype="f4"),
        "slices without pixels": _dataset(shape=(4, 0, 8), dtype="f4"),
        "2^62 slices": _dataset(shape=(2**62, 1, 1), dtype="i1", chunks=(2**20, 1, 1)),
    }


def _outside(secret: Path) -> dict[str, Callable[[h5py.File], object]]:
    """Values from another file; all of them must be refused."""

    def link(target: object) -> Callable[[h5py.File], object]:
        return lambda file: file.__setitem__(ESC, target)

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(VOLUME.shape, "f4")
        layout[:] = h5py.VirtualSource(str(secret), ESC, VOLUME.shape)
        file.create_virtual_dataset(ESC, layout)

    def through_group(file: h5py.File) -> None:
        file["group"] = h5py.ExternalLink(str(secret), "/")
        file[ESC] = h5py.SoftLink(f"/group/{ESC}")

    raw = str(secret.with_suffix(".raw"))
    return {
        "OUTSIDE: external link": link(h5py.ExternalLink(str(secret), f"/{ESC}")),
        "OUTSIDE: relative external link": link(h5py.ExternalLink("../secret.h5", f"/{ESC}")),
        "OUTSIDE: soft link through an external one": through_group,
        "OUTSIDE: external storage": _dataset(shape=VOLUME.shape, dtype="f4", external=[(raw, 0, VOLUME.nbytes)]),
        "OUTSIDE: virtual data set": virtual,
        "soft link to itself": link(h5py.SoftLink(f"/{ESC}")),
        "soft link to nothing": link(h5py.SoftLink("/nothing")),
    }


def _odd() -> dict[str, Callable[[h5py.File], object]]:
    """Types and values that are no image."""
    bad = {"NaN": np.nan, "infinite": np.inf, "negative": -5.0, "beyond float32": 1e300}
    values = {f"a {name} value": np.where(VOLUME[1, 2, 3] == VOLUME, value, VOLUME) for name, value in bad.items()}
    arrays = {
        **values,
        "zeros": np.zeros(VOLUME.shape),
        "booleans": VOLUME > 1.5,
        "float16": VOLUME.astype(np.float16),
        "complex images": VOLUME.astype(np.complex64),
        "text": np.full(VOLUME.shape, b"text"),
        "records": np.zeros(VOLUME.shape, [("re", "f4"), ("im", "f4"), ("x", "i8")]),
        "one value": np.float32(1),
        "two axes": VOLUME[0],
        "five axes": VOLUME[None, None],
    }
    found = {name: _dataset(data=array) for name, array in arrays.items()}
    found["text of any length"] = _dataset(shape=VOLUME.shape, dtype=h5py.string_dtype())
    found["lists"] = _dataset(shape=VOLUME.shape, dtype=h5py.vlen_dtype(np.float32))
    found["references"] = _dataset(shape=VOLUME.shape, dtype=h5py.ref_dtype)
    found["an array in each value"] = _dataset(shape=VOLUME.shape, dtype=np.dtype(("f4", (3, 3))))
    found["no space"] = lambda file: file.create_dataset(ESC, data=h5py.Empty("f4"))
    found["a group"] = lambda file: file.create_group(ESC)
    found["a named type"] = lambda file: file.__setitem__(ESC, np.dtype("f4"))
    found["thousands of names"] = lambda file: [file.create_group("\n" + "x" * 300 + str(n)) for n in range(2000)]
    found["whole-numbered k-space"] = _dataset("kspace", data=VOLUME.astype(np.int16))
    found["k-space that is not finite"] = _dataset("kspace", data=values["a NaN value"].astype(np.complex64))
    return found
