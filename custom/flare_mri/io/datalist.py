# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data lists in JSON: rows of images and labels for training, validation and test."""

import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import model_validator

from flare_mri.config.labelled import LabelledSettings
from flare_mri.config.segmentation import MOST_ORGANS
from flare_mri.errors import InputError
from flare_mri.files import read_json

_SECTIONS = {"training": "train", "validation": "validation", "test": "test", "testing": "test"}
_MOST_BYTES = 2**24  # some 100,000 rows


class ListedSettings(LabelledSettings):
    """Settings of formats whose list says what is for what."""

    merge_labels: bool = False
    """whether all labels above 0 are the organ"""

    @model_validator(mode="after")
    def _merges_or_names(self) -> "ListedSettings":
        if self.merge_labels and self.labels:
            raise ValueError("merge_labels: expected false beside data.labels, got true; leave one of them out")
        return self

    def find_labels(self) -> dict[str, tuple[int, ...]] | None:
        return None if self.merge_labels else super().find_labels()

    def is_listed(self) -> bool:
        return True


class Row(NamedTuple):
    """One row of a list, its files made absolute."""

    section: str
    image: Path
    label: Path | None
    where: str


def read_rows(path: Path, root: Path, sections: Collection[str] = tuple(_SECTIONS.values())) -> list[Row]:
    """The rows of a list, whose paths start at `root`, of some sections; rows of others are not looked at.

    Raises:
        InputError: no such list; a file that is missing, outside `root` or listed twice; a row without label.
    """
    content = _load(path)
    rows: list[Row] = []
    for key, section in ((key, section) for key, section in _SECTIONS.items() if section in sections):
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


def says_what_is_for_what(path: Path) -> bool:
    """Whether a list does more than to name images for training: it has some for validation, or labelled ones for test.

    The Decathlon's own do not: their training volumes are to be divided, and their test volumes have no labels.

    Raises:
        InputError: no such list.
    """
    content = _load(path)
    tests = [row for key in ("test", "testing") for row in _rows_in(content, key)]
    labelled = any(isinstance(row, dict) and row.get("label") is not None for row in tests)
    return labelled or bool(content.get("validation")) or not _rows_in(content, "training")


def _rows_in(content: dict[str, Any], key: str) -> list[Any]:
    rows = content.get(key)
    return rows if isinstance(rows, list) else []


def read_labels(path: Path) -> dict[str, tuple[int, ...]] | None:
    """The organs of a list's ``labels``, as the Decathlon's have them (``{"0": "background", "1": "liver"}``).

    Returns:
        Values by name, see :func:`name_organ`; None where it has none above 0.

    Raises:
        InputError: ``labels`` of another form, two organs of one name, or too many.
    """
    told = _load(path).get("labels")
    if told is None:
        return None
    try:
        named = {int(value): name_organ(name) for value, name in told.items()}
    except (AttributeError, TypeError, ValueError):
        named = {0: ""}
    organs: dict[str, tuple[int, ...]] = {name: (value,) for value, name in sorted(named.items()) if value > 0}
    whole = len(organs) == sum(value > 0 for value in named) <= MOST_ORGANS
    if not whole or not all(organs) or min(named, default=0) < 0:
        raise InputError(
            f'{path}: labels: expected values and names such as {{"0": "background", "1": "liver"}}, got '
            f"{str(told)[:80]!r}; correct it or set data.labels"
        )
    return organs or None


def name_organ(text: str) -> str:
    """What an organ is called in settings: lower case, with _ for what is no letter or digit, 32 characters at most."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:32].strip("_")


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
