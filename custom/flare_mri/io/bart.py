# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `bart`: k-space in the files `.cfl` and `.hdr` of the BART toolbox, for reconstruction of measured k-space."""

from pathlib import Path

import numpy as np

from flare_mri.io.format import RECONSTRUCTION, Format, in_files
from flare_mri.io.raw.format import RawSettings, find_raw
from flare_mri.io.raw.samples import sample_scan, write_bart
from flare_mri.io.scan import Scan


class BartSettings(RawSettings):
    """Settings of format `bart`."""


def find_bart(settings: BartSettings) -> list[Scan]:
    """Scans of `<root>/*.cfl`."""
    return find_raw(settings.root, settings.include, (".cfl",), "BART files *.cfl, each with its *.hdr")


def sniff_bart(folder: Path) -> bool:
    """A folder with a `.cfl` and its `.hdr`."""
    return any(path.with_suffix(".hdr").is_file() for path in folder.glob("*.cfl"))


def write_bart_sample(folder: Path, rng: np.random.Generator) -> None:
    """Two files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("scan1.cfl", "scan2.cfl"):
        write_bart(folder / name, sample_scan(rng).kspace)


BART = Format("bart", (RECONSTRUCTION,), BartSettings, in_files(find_bart), sniff_bart, write_bart_sample)
