# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a scan in HDF5 says of itself: its patient, whose scans stay in one part of a split, and its contrast."""

from collections.abc import Callable
from pathlib import Path

import h5py

from flare_mri.errors import InputError
from flare_mri.files import reading
from flare_mri.io.fastmri_layout import read_header
from flare_mri.io.hdf5 import MOST_TEXT, own_child, read_text
from flare_mri.io.raw.acquisitions import find_dataset
from flare_mri.io.raw.header import Header, clean_text, parse_header

_NOBODY = {"anonymous", "anonymized", "anonymised", "anon", "unknown", "none", "patient", "removed", "0"}
"""What is left in headers from which the patient was taken out."""


def subject_of(path: Path) -> str:
    """The patient's ID in the header; the name of the file where the header names none, or cannot be read.

    A file that is damaged is listed like any other: what is wrong with it is told where its samples are read.

    Args:
        path: an ISMRMRD or fastMRI file, or a file of another format, which names no patient.
    """
    patient = _read(path, lambda file: _find_header(path, file).patient)
    return path.stem if patient is None or patient.lower() in _NOBODY else patient


def contrast_of(path: Path) -> str | None:
    """What the scan's contrast is called: fastMRI's `acquisition` (AXT2), or else the protocol's name in the header.

    Args:
        path: as of :func:`subject_of`; None for a file that does not say, or cannot be read.
    """
    return _read(path, lambda file: _attribute(file, "acquisition") or _find_header(path, file).protocol)


def _read(path: Path, find: Callable[[h5py.File], str | None]) -> str | None:
    try:
        with reading(path):
            if not h5py.is_hdf5(path):
                return None
            with h5py.File(path, "r") as file:
                return find(file)
    except InputError:
        return None


def _attribute(file: h5py.File, name: str) -> str | None:
    """A single text; an attribute may be of any type, and as large as the file."""
    if name not in file.attrs:
        return None
    stored = file.attrs.get_id(name)
    if stored.shape != () or stored.dtype.kind not in "SO" or stored.dtype.itemsize > MOST_TEXT:
        return None
    value = file.attrs[name]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return clean_text(value) if isinstance(value, str) else None


def _find_header(path: Path, file: h5py.File) -> Header:
    name = find_dataset(path, file)
    if name is None:
        return read_header(file)
    text = read_text(path, own_child(path, own_child(path, file, name, h5py.Group), "xml", h5py.Dataset))
    try:
        return Header() if text is None else parse_header(text)
    except ValueError:
        return Header()
