# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What the formats of measured k-space have in common: settings, and scans that are a file each."""

from pathlib import Path
from typing import Literal

from flare_mri.config.data import RootedSettings, Texts
from flare_mri.io.listing import choose_entries, list_entries
from flare_mri.io.raw.named import subject_of
from flare_mri.io.raw.reader import RawReader
from flare_mri.io.scan import Scan, ScanFile

Sensitivities = Literal["espirit", "low_pass"]


class RawSettings(RootedSettings):
    """Settings of measured k-space."""

    include: Texts = ()
    """patterns of file names to take; none: all"""
    sensitivities: Sensitivities = "espirit"
    """how coil sensitivities are found from the sampled centre of measured k-space: espirit needs the extra `raw`"""

    def is_raw(self) -> bool:
        return True


def find_raw(root: Path, include: Texts, suffixes: tuple[str, ...], wanted: str) -> list[Scan]:
    """Scans of the files `<root>/*` with one of the suffixes, one volume a file, of the subject that its header names.

    Args:
        root: folder of the files.
        include: patterns of names to take; none: all.
        suffixes: of the files.
        wanted: what they are, for messages.

    Raises:
        InputError: there is none.
    """

    def keep(path: Path) -> bool:
        return path.suffix in suffixes and path.is_file()

    files = choose_entries(list_entries(root, keep, wanted), include)
    return [Scan(path.stem, subject_of(path), ScanFile((path,), RawReader())) for path in files]
