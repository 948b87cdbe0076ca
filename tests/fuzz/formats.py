# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Every format of the registry, from its own sample: one that is added there is fuzzed without more."""

import gzip
import json
from functools import partial
from pathlib import Path

import numpy as np
from images import pack, read_slices
from mutators import Base, Case, Kind

from flare_mri.io.formats import FORMATS

_MOST = 6  # files of a sample that are changed


def sample_files(folder: Path, name: str) -> tuple[list[Base], list[Case]]:
    """A format's sample, of which one file is changed at a time."""
    write = FORMATS[name].write_sample
    assert write is not None
    write(folder, np.random.default_rng(0))
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: (path.suffix, path))
    places = np.unique(np.linspace(0, len(files) - 1, _MOST).round().astype(int))
    return [_make_base(files[place], folder) for place in places], []


def _make_base(path: Path, folder: Path) -> Base:
    name, content = str(path.relative_to(folder)), path.read_bytes()
    if path.suffix == ".gz":
        return Base(name, gzip.decompress(content), pack)
    if path.suffix == ".json":
        return Base(name, content, None, json.loads(content), json.dumps)
    return Base(name, content)


def read_sample(folder: Path, name: str) -> list[np.ndarray]:
    """All slices of all volumes, for every task that the format serves."""
    entry = FORMATS[name]
    return [slices for task in entry.tasks for slices in read_slices(folder, name, task, **entry.sample_keys)]


SAMPLES = [
    Kind(f"format-{name}", 60, partial(sample_files, name=name), partial(read_sample, name=name))
    for name, entry in FORMATS.items()
    if entry.write_sample is not None
]
