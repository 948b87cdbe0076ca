# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Raw k-space: ISMRMRD, fastMRI and BART files."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from mutators import Base, Case, Kind

from flare_mri.io.raw.read import read_raw
from flare_mri.io.raw.samples import make_header, sample_scan, write_bart, write_fastmri_raw, write_ismrmrd

REAL = Path(os.environ.get("FLARE_MRI_DATA", Path(__file__).parents[3] / "shared" / "data"))
SCAN = sample_scan(np.random.default_rng(0), (2, 12, 10), coils=2)
LINES = np.isin(np.arange(10), [0, 2, 4, 5, 6, 8])
EXTREMES = (0, 1, 2, 100, 2**15, 2**16 - 1)


def read_scans(folder: Path, pattern: str = "a.h5") -> list[Any]:
    """Everything of the scans that are there."""
    found: list[Any] = []
    for path in folder.glob(pattern):
        scan = read_raw(path)
        target = [] if scan.target is None else [scan.target]
        geometry = [] if scan.geometry is None else [scan.geometry]
        found += [scan.kspace.view(np.float32), scan.mask, list(scan.notes), *target, *geometry]
        found += [list(scan.field_of_view or ()), scan.fully_sampled, list(scan.centre), scan.acceleration]
    return found


def _edited(folder: Path, content: bytes, edit: Callable[[h5py.File], object]) -> bytes:
    path = folder / "edited.tmp"
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        edit(file)
    edited = path.read_bytes()
    path.unlink()
    return edited


def _set_heads(file: h5py.File, row: int | slice, name: str, value: Any) -> None:
    rows = file["dataset/data"][:]
    head = rows["head"][row]
    (head["idx"] if name in head["idx"].dtype.names else head)[name] = value
    rows["head"][row] = head
    file["dataset/data"][:] = rows


def _set_xml(file: h5py.File, text: str | bytes) -> None:
    del file["dataset/xml"]
    file["dataset"].create_dataset("xml", data=[text], dtype=h5py.string_dtype())


def ismrmrd_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """A scan with and without noise; every counter and size of its acquisitions at extremes; hostile headers."""
    bases = []
    for noise in (None, SCAN.noise[:, :16]):
        path = write_ismrmrd(folder / "made.tmp", SCAN.kspace, LINES, noise)
        bases.append(Base("a.h5", path.read_bytes()))
        path.unlink()
    edits: dict[str, Callable[[h5py.File], object]] = {}
    counters = ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "repetition", "set")
    sizes = ("number_of_samples", "active_channels", "center_sample", "discard_pre", "discard_post", "flags")
    for name in (*counters, *sizes, "encoding_space_ref", "trajectory_dimensions"):
        for value in EXTREMES:
            edits[f"{name} = {value} in one"] = partial(_set_heads, row=slice(3, 4), name=name, value=value)
            edits[f"{name} = {value} in all"] = partial(_set_heads, row=slice(None), name=name, value=value)
    for name in ("position", "read_dir", "phase_dir", "slice_dir", "sample_time_us"):
        for number in (0.0, -1.0, float("nan"), float("inf"), 1e38):
            edits[f"{name} = {number}"] = partial(_set_heads, row=slice(None), name=name, value=number)
    edits |= {f"xml: {label}": partial(_set_xml, text=text) for label, text in _headers().items()}
    edits |= _layouts(folder)
    return bases, [Case("a.h5", _edited(folder, bases[1].content, edit), label) for label, edit in edits.items()]


def _headers() -> dict[str, str]:
    good = make_header((12, 10), oversampling=2, slices=2)
    texts = {
        "none": "",
        "another": "<a/>",
        "bare": "<ismrmrdHeader/>",
        "cut": good[:-20],
        "entities": '<!DOCTYPE a [<!ENTITY b "c">]>' + good,
        "deep": "<ismrmrdHeader>" + "<a>" * 100_000,
        "long": "<ismrmrdHeader>" + "x" * 2**21,
        "radial": good.replace("cartesian", "radial"),
        "control characters": good.replace("cartesian", "a&#10;b"),
        "many encodings": good.replace("</encoding>", "</encoding>" + "<encoding/>" * 10_000),
    }
    for name in ("<x>24<", "<y>10<", "<z>1<", "<center>5<", "<maximum>1<"):
        for value in ("", "0", "-1", "1", "7", "65535", "65536", "1e9", "9" * 400, "nan"):
            texts[f"{name}{value}"] = good.replace(name, name[: name.index(">") + 1] + value + "<")
    for value in ("", "0", "-1", "nan", "inf", "1e308", "1e-308"):
        texts[f"field {value}"] = good.replace("240.0", value)
    return texts


def _layouts(folder: Path) -> dict[str, Callable[[h5py.File], object]]:
    """Groups and acquisitions that are none, or lie elsewhere."""
    secret = write_ismrmrd(folder.parent / "secret.h5", SCAN.kspace)

    def replace(name: str, value: Any) -> Callable[[h5py.File], object]:
        def edit(file: h5py.File) -> None:
            del file[name]
            file[name] = value

        return edit

    def many(file: h5py.File) -> None:
        file["dataset/data"].resize((2**30,))

    def shared_samples(file: h5py.File) -> None:
        rows = file["dataset/data"][:]
        rows[1]["data"] = np.zeros(2**20, np.float32)
        file["dataset/data"][:] = rows

    outside = {
        "OUTSIDE: group": replace("dataset", h5py.ExternalLink(str(secret), "/dataset")),
        "OUTSIDE: acquisitions": replace("dataset/data", h5py.ExternalLink(str(secret), "/dataset/data")),
        "OUTSIDE: header": replace("dataset/xml", h5py.ExternalLink(str(secret), "/dataset/xml")),
    }
    return {
        **outside,
        "acquisitions of numbers": replace("dataset/data", np.zeros(5)),
        "acquisitions of other fields": replace("dataset/data", np.zeros(5, [("head", "f4"), ("data", "f4")])),
        "acquisitions in a group": lambda file: (
            file.move("dataset/data", "dataset/data/x/y") if file.create_group("x") is None else None
        ),
        "a header of numbers": replace("dataset/xml", np.zeros(3)),
        "a header of fixed length": replace("dataset/xml", np.array([b"x" * 10])),
        "no header": lambda file: file.__delitem__("dataset/xml"),
        "two scans": lambda file: file.copy("dataset", "b"),
        "thousands of groups": lambda file: [file.create_group(f"g{n}") for n in range(3000)],
        "2^30 acquisitions, nothing stored": many,
        "an acquisition of 4 MiB": shared_samples,
    }


def fastmri_raw_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """Training and test layout; masks that contradict, sizes that nothing holds."""
    header = make_header((12, 10), slices=2)

    def made(**more: Any) -> bytes:
        path = write_fastmri_raw(folder / "made.tmp", **{"kspace": SCAN.kspace, "header": header, **more})
        content = path.read_bytes()
        path.unlink()
        return content

    bases = [
        Base("a.h5", made(target=np.abs(SCAN.images))),
        Base("a.h5", made(kspace=SCAN.kspace * LINES, mask=LINES)),
        Base("a.h5", made(kspace=SCAN.kspace[:, 0])),
    ]
    masks: dict[str, Any] = {
        "a mask of another scan": ~LINES,
        "an empty mask": np.zeros(0),
        "a mask of text": np.full(10, b"x"),
        "a mask of NaN": np.full(10, np.nan),
        "a mask of numbers": np.arange(10),
        "a mask with five axes": LINES[None, None, None, None],
        "a mask that is one value": np.bool_(True),
        "a mask that is too long": np.ones(1000, bool),
        "a mask of nothing": np.zeros(10, bool),
    }
    cases = {label: made(kspace=SCAN.kspace * LINES, mask=mask) for label, mask in masks.items()}
    for label, value in {"zeros": 0, "NaN": np.nan, "infinite": np.inf, "large": 1e30}.items():
        cases[f"k-space of {label}"] = made(kspace=np.full_like(SCAN.kspace, value))
    for label, text in _headers().items():
        if len(text) < 2**15:  # what is longer does not fit an object's header
            cases[f"header: {label}"] = made(header=text)
    huge = {
        "huge": {"shape": (2**16, 64, 2**12, 2**12), "chunks": (1, 1, 64, 64)},
        "below the limit, nothing stored": {"shape": (8, 8, 512, 512), "chunks": (1, 1, 64, 64)},
        "2^40 coils": {"shape": (2, 2**40, 8, 8), "chunks": (1, 1, 8, 8)},
    }
    for label, more in huge.items():
        cases[label] = _edited(folder, bases[0].content, partial(_recreate, **more))
    return bases, [Case("a.h5", content, label) for label, content in cases.items()]


def _recreate(file: h5py.File, **more: Any) -> None:
    del file["kspace"]
    file.create_dataset("kspace", dtype="c8", compression="gzip", **more)


def bart_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """A pair of files, one of them changed; sizes that do not fit."""
    path = write_bart(folder / "a.cfl", SCAN.kspace * LINES)
    header = path.with_suffix(".hdr")
    good = header.read_bytes()
    hostile = {
        "nothing": b"",
        "binary": bytes(range(256)) * 4,
        "long": b"# Dimensions\n" + b"1 " * 10_000,
        "longer": b"# Dimensions\n" + b"1 " * 100_000,
        "digits": b"# Dimensions\n" + b"9" * 5000,
    }
    sizes = (0, -1, 1, 2, 2**31, 2**62)
    for axis in range(16):
        for size in sizes:
            words = good.decode().split()[2:]
            words[axis] = str(size)
            hostile[f"axis {axis}: {size}"] = b"# Dimensions\n" + " ".join(words).encode()
    values = {"nothing": b"", "NaN": np.full(SCAN.kspace.size, np.nan, np.complex64).tobytes()}
    cases = [Case("a.hdr", content, label) for label, content in hostile.items()]
    cases += [Case("a.cfl", content, label) for label, content in values.items()]
    return [Base("a.hdr", good), Base("a.cfl", path.read_bytes())], cases


def real_raw_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """The small files of the real data, where they are present."""
    return [Base("a.h5", path.read_bytes()) for path in sorted(REAL.glob("raw/new/**/*R3.h5"))], []


RAW = [
    Kind("raw-ismrmrd", 120, ismrmrd_files, read_scans),
    Kind("raw-fastmri", 120, fastmri_raw_files, read_scans),
    Kind("raw-bart", 60, bart_files, partial(read_scans, pattern="a.cfl")),
    Kind("real-raw", 20, real_raw_files, read_scans),
]
