# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The acquisitions of an ISMRMRD file: their headers, checked, and their samples, read a block at a time.

The layout of an acquisition and its flags come from the package `ismrmrd` (the extra `raw`). Values are read by h5py:
`ismrmrd.Dataset` opens files for writing, which fails for data that are read only and for a second reader.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from flare_mri.errors import InputError
from flare_mri.extras import import_extra
from flare_mri.io.hdf5 import check_chunks, is_there, own_child, read_text
from flare_mri.io.hdf5_lists import stored_lengths
from flare_mri.io.raw.header import Header, parse_header

_MOST_ROWS = 2**18
_MOST_GROUPS = 100
_BLOCK = 2**22  # samples that are read at once
_NO_IMAGE = (
    "NAVIGATION_DATA",
    "PHASECORR_DATA",
    "HPFEEDBACK_DATA",
    "DUMMYSCAN_DATA",
    "RTFEEDBACK_DATA",
    "SURFACECOILCORRECTIONSCAN_DATA",
    "PHASE_STABILIZATION_REFERENCE",
    "PHASE_STABILIZATION",
)


def import_ismrmrd(wanted: object) -> Any:
    """The package `ismrmrd` with its module `hdf5`.

    Raises:
        InputError: it is not installed; `wanted` is the file that needs it.
    """
    import_extra("raw", "ismrmrd.hdf5", wanted)
    return import_extra("raw", "ismrmrd", wanted)


def find_dataset(path: Path, file: h5py.File) -> str | None:
    """The name of the one group that holds acquisitions and their header; None where there is none.

    Raises:
        InputError: there are several.
    """
    names = []
    for index, name in enumerate(file):
        if index >= _MOST_GROUPS:
            break
        if file.id.links.get_info(name.encode()).type == h5py.h5l.TYPE_HARD:
            group = file[name]
            if isinstance(group, h5py.Group) and is_there(group, "data") and is_there(group, "xml"):
                names.append(name)
    if len(names) > 1:
        raise InputError(
            f"{path}: expected the acquisitions of one scan, got those of {len(names)} ({', '.join(names[:4])}); "
            "export each as a file of its own"
        )
    return names[0] if names else None


@dataclass(frozen=True)
class Acquisitions:
    """The acquisitions of one open file.

    Attributes:
        path: the file.
        header: its XML header.
        heads: structured array [N] of `ismrmrd.hdf5.acquisition_header_dtype`'s fields.
        data: the data set of which the heads are a part.
    """

    path: Path
    header: Header
    heads: np.ndarray
    data: h5py.Dataset

    def flagged(self, *names: str) -> np.ndarray:
        """Which acquisitions have one of these flags (`ACQ_IS_...`): bool [N]."""
        constants = import_ismrmrd(self.path)
        bits = sum(1 << (getattr(constants, f"ACQ_IS_{name}") - 1) for name in names)
        return (self.heads["flags"] & np.uint64(bits)) != 0

    @property
    def images(self) -> np.ndarray:
        """Which acquisitions measure lines of the image, or lines to calibrate coils with: bool [N]."""
        return ~self.flagged("NOISE_MEASUREMENT", *_NO_IMAGE)

    def read(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Samples of acquisitions that have equally many and the same coils.

        Args:
            rows: their numbers, rising.

        Yields:
            Numbers [n] of some rows and complex64 [n, C, samples].
        """
        coils, samples = (int(self.heads[name][rows[0]]) for name in ("active_channels", "number_of_samples"))
        many = max(1, _BLOCK // max(coils * samples, 1))
        for start in range(int(rows[0]), int(rows[-1]) + 1, many):
            block = rows[(rows >= start) & (rows < start + many)]
            if block.size:
                stored = self.data.fields("data")[start : start + many][block - start]
                yield block, np.stack(stored).view(np.complex64).reshape(len(block), coils, samples)


def open_acquisitions(path: Path, file: h5py.File) -> Acquisitions:
    """Header and acquisitions' headers of a file; no sample is read.

    Raises:
        InputError: no ISMRMRD file, a header that cannot be read, acquisitions in another layout, or more of them than
            the file can hold, or samples that do not fit their headers.
    """
    package = import_ismrmrd(path)
    name = find_dataset(path, file)
    if name is None:
        raise InputError(f"{path}: expected a group with `data` and `xml`, as ISMRMRD has, got none; leave it out")
    group = own_child(path, file, name, h5py.Group)
    text = read_text(path, own_child(path, group, "xml", h5py.Dataset))
    if text is None:
        raise InputError(f"{path}: {name}/xml: expected one text of at most 1 MiB, got another; export the scan again")
    try:
        header = parse_header(text)
    except ValueError as error:
        raise InputError(
            f"{path}: {name}/xml: expected an ISMRMRD header, got {error}; export the scan again"
        ) from None
    data = own_child(path, group, "data", h5py.Dataset)
    where = f"{path}: {name}/data"
    _check_rows(where, data, package.hdf5.acquisition_dtype)
    check_chunks(where, data)
    heads = data.fields("head")[:]
    _check_samples(path, heads, data)
    return Acquisitions(path, header, heads, data)


def _check_rows(where: str, data: h5py.Dataset, layout: Any) -> None:
    """Fields and number of the acquisitions."""
    found: Any = data.dtype
    if found.names != layout.names or _fields(found["head"]) != _fields(layout["head"]):
        raise InputError(f"{where}: expected acquisitions in ISMRMRD's layout, got {found!s:.80}; leave it out")
    if any(h5py.check_vlen_dtype(found[key]) != np.dtype("<f4") for key in ("data", "traj")):
        raise InputError(f"{where}: expected samples of float32, got {found!s:.80}; export the scan again")
    if len(data.shape) != 1 or not 1 <= data.shape[0] <= _MOST_ROWS:
        raise InputError(
            f"{where}: expected a list of 1 to {_MOST_ROWS} acquisitions, got {list(data.shape)}; export the scan again"
        )
    if data.shape[0] * data.dtype.itemsize > max(data.id.get_storage_size(), 1) * (100 if data.compression else 1):
        raise InputError(f"{where}: expected {data.shape[0]} acquisitions, got fewer; copy the file again")


def _fields(kind: Any) -> Any:
    """Names, formats and shapes of a type, without how its fields are placed."""
    if kind.names is None:
        return kind.base.str, kind.shape
    return [(name, _fields(kind[name])) for name in kind.names]


def _check_samples(path: Path, heads: np.ndarray, data: h5py.Dataset) -> None:
    """As many samples as the headers say, and no more than the file is long; lists are stored unpacked."""
    claimed = heads["number_of_samples"].astype(np.int64) * heads["active_channels"]
    size = 8 * int(claimed.sum())
    if size > path.stat().st_size:
        raise InputError(
            f"{path}: expected {size} bytes of samples, as the acquisitions' headers say, got a file of "
            f"{path.stat().st_size} bytes; copy the file again"
        )
    stored = stored_lengths(path, data, "data")
    if stored is None:
        raise InputError(
            f"{path}: expected acquisitions that are not packed, got some that are; unpack them (h5repack)"
        )
    wrong = np.flatnonzero(stored != 2 * claimed)
    if wrong.size:
        head = heads[wrong[0]]
        raise InputError(
            f"{path}: acquisition {wrong[0]}: expected {head['active_channels']} coils x {head['number_of_samples']} "
            f"complex samples, as its header says, got {stored[wrong[0]] / 2:g} in all; copy or export the file again"
        )
