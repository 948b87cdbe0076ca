# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Listing a site's folders: visible entries in order, patterns of names."""

from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from flare_mri.errors import InputError
from flare_mri.files import reading


def list_entries(folder: Path, keep: Callable[[Path], bool], wanted: str) -> list[Path]:
    """The folder's visible entries that `keep` accepts, sorted by name; a file in its place is the one entry.

    Raises:
        InputError: there is none, or the folder cannot be read.
    """
    with reading(folder, "mount the data or correct data.root"):
        paths = [folder] if folder.is_file() else [path for path in folder.iterdir() if not path.name.startswith(".")]
        found = sorted(path for path in paths if keep(path))
    if not found:
        raise InputError(f"data.root: {folder}: expected {wanted}, got none; correct the path or copy the data there")
    return found


def choose_entries(paths: list[Path], patterns: tuple[str, ...]) -> list[Path]:
    """The paths whose name matches one of the patterns of `data.include`, all where there are none.

    Raises:
        InputError: a pattern matches nothing.
    """
    for pattern in patterns:
        if not any(fnmatch(path.name, pattern) for path in paths):
            raise InputError(
                f"data.include: {pattern!r}: expected to match a name in {paths[0].parent}, got no match among "
                f"{len(paths)} such as {paths[0].name!r}; correct the pattern (* stands for any text)"
            )
    return [path for path in paths if not patterns or any(fnmatch(path.name, pattern) for pattern in patterns)]
