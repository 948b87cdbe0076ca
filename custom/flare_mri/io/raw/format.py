# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What the formats of measured k-space have in common: settings, and scans that are a file each."""

from pathlib import Path
from typing import Literal

from flare_mri.config.data import DataSettings, RootedSettings, Texts
from flare_mri.io.listing import choose_entries, list_entries
from flare_mri.io.raw.reader import RawReader
from flare_mri.io.scan import Scan, ScanFile


class RawSettings(RootedSettings):
    """Settings of measured k-space."""

    include: Texts = ()
    """patterns of file names to take; none: all"""
    sensitivities: Literal["espirit", "low_pass"] = "espirit"
    """how coil sensitivities are found from the sampled centre of measured k-space: espirit needs the extra `raw`"""

    def is_measured(self) -> bool:
        """Whether k-space is read as it was measured; a format that also holds magnitudes looks at its files."""
        return True


def holds_measured(data: DataSettings) -> bool:
    """Whether a site's scans are k-space as it was measured.

    Raises:
        InputError: a file of a format that may hold either cannot be read.
    """
    return isinstance(data, RawSettings) and data.is_measured()


def find_raw(settings: RawSettings, suffixes: tuple[str, ...], wanted: str) -> list[Scan]:
    """Scans of the files `<root>/*` with one of the suffixes, one volume and one subject a file.

    Raises:
        InputError: there is none.
    """

    def keep(path: Path) -> bool:
        return path.suffix in suffixes and path.is_file()

    files = choose_entries(list_entries(settings.root, keep, wanted), settings.include)
    return [Scan(path.stem, path.stem, ScanFile((path,), RawReader())) for path in files]
