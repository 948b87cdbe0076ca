# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data lists in JSON: rows of images and labels for training, validation and test."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from flare_mri.config.data import Fit, NiftiSettings
from flare_mri.errors import InputError
from flare_mri.files import read_json

_SECTIONS = {"training": "train", "validation": "validation", "test": "test", "testing": "test"}
_MOST_BYTES = 2**24  # some 100,000 rows


class ListedSettings(NiftiSettings):
    """Settings of formats whose list says what is for what."""

    fit: Fit = "pad"
    """how slices get to `spatial_size`: pad (and crop) about the centre, or resize"""
    merge_labels: bool = False
    """whether all labels above 0 are the organ"""

    def find_fit(self) -> str:
        return self.fit

    def takes_any_label(self) -> bool:
        return self.merge_labels


class Row(NamedTuple):
    """One row of a list, its files made absolute."""

    section: str
    image: Path
    label: Path | None
    where: str


def read_rows(path: Path, root: Path) -> list[Row]:
    """All rows of a list, whose paths start at `root`.

    Raises:
        InputError: no such list; a file that is missing, outside `root` or listed twice; a row without label.
    """
    content = _load(path)
    rows: list[Row] = []
    for key, section in _SECTIONS.items():
        values = content.get(key, [])
        if not isinstance(values, list):
            raise InputError(f"{path}: {key}: expected a list of rows, got {type(values).__name__}; correct it")
        rows += [_row(value, section, f"{path}: {key}[{i}]", root) for i, value in enumerate(values)]
    if not rows:
        known = ", ".join(_SECTIONS)
        raise InputError(f"{path}: expected rows under one of {known}, got none; add them or correct data.datalist")
    seen: dict[Path, str] = {}
    for row in rows:
        for file in filter(None, (row.image, row.label)):
            if file in seen:
                raise InputError(f"{row.where}: expected each file once, got {file} in {seen[file]} too; remove one")
            seen[file] = row.where
            if not os.path.isfile(file):
                raise InputError(f"{row.where}: expected an existing file, got {file}; correct data.root or the list")
    return rows


def _load(path: Path) -> dict[str, Any]:
    content = read_json(path, _MOST_BYTES, "correct the data list")
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping with 'training', 'validation', 'test', got a list; correct it")
    return content


def _row(value: Any, section: str, where: str, root: Path) -> Row:
    row = {"image": value} if isinstance(value, str) else value
    if not isinstance(row, dict) or not isinstance(row.get("image"), str):
        raise InputError(f'{where}: expected {{"image": path, "label": path}}, got {str(value)[:80]!r}; correct it')
    label = row.get("label")
    if label is None and section != "test":
        raise InputError(f"{where}: expected a label, got none for {row['image']}; add it or move the row to test")
    if label is not None and not isinstance(label, str):
        raise InputError(f"{where}: expected the path of one label, got {str(label)[:80]!r}; correct it")
    return Row(
        section, _inside(row["image"], root, where), None if label is None else _inside(label, root, where), where
    )


def _inside(name: str, root: Path, where: str) -> Path:
    """A list may come from elsewhere: it names files of the data root and no others."""
    path = Path(os.path.normpath(root / name))
    if not path.is_relative_to(root) or path == root:
        raise InputError(f"{where}: expected a file in {root}, got {name[:200]!r}; correct data.root or the list")
    return path


def stem_of(path: Path) -> str:
    return path.name.split(".")[0]


def name_in_root(path: Path, root: Path) -> str:
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    name = inside.as_posix()
    for ending in (".gz", ".nii", ".png"):
        name = name.removesuffix(ending)
    return name


def write_list(folder: Path, rows: dict[str, list[dict[str, str]]]) -> None:
    """Write `datalist.json`, for samples."""
    (folder / "datalist.json").write_text(json.dumps(rows))
