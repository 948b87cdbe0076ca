# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data lists in JSON: those of the Medical Segmentation Decathlon and those of FLARE's 2D prostate example."""

import os
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from flare_mri.config.site import DataSettings
from flare_mri.errors import InputError
from flare_mri.files import read_json
from flare_mri.io.cases import Case, is_slice, stack_case, volume_case

_SECTIONS = {"training": "train", "validation": "validation", "test": "test", "testing": "test"}
_MOST_BYTES = 2**24  # some 100,000 rows


class _Row(NamedTuple):
    """One row of a list, its files made absolute."""

    section: str
    image: Path
    label: Path | None
    where: str


def find_decathlon(settings: DataSettings) -> list[Case]:
    """Reads `datalist.json`: `training`, `validation` and `test` hold rows {"image", "label"} of 3D NIfTI files.

    Paths start at the data root. Rows of `test` may lack the label (all or none of them), or be the image's path alone.

    Raises:
        InputError: not such a list, a file that is missing, outside the data root or listed twice, a row without label.
    """
    return [
        volume_case(_name(row.image, settings.root), row.section, row.image, row.label, settings)
        for row in _rows(settings)
    ]


def find_datalist_2d(settings: DataSettings) -> list[Case]:
    """Reads a list of FLARE's prostate example (`datalist_2D/client_*.json`): as the Decathlon's, of 2D or 3D files.

    Slices whose names are numbers (`<site>/Image/<case>/12.png`) make up one volume for each folder, in the order of
    the numbers; any other 2D file is a volume of one slice.

    Raises:
        InputError: as for the Decathlon's; a folder of slices that is in two sections.
    """
    cases: list[Case] = []
    slices: list[_Row] = []
    for row in _rows(settings):
        name = _name(row.image, settings.root)
        if not is_slice(row.image):
            cases.append(volume_case(name, row.section, row.image, row.label, settings))
        elif _stem(row.image).isdecimal():
            slices.append(row)
        else:
            cases.append(stack_case(name, row.section, (row.image,), (row.label,) if row.label else ()))
    slices.sort(key=lambda row: (row.image.parent, int(_stem(row.image))))
    for folder, rows in groupby(slices, key=lambda row: row.image.parent):
        cases.append(_stacked(_name(folder, settings.root), list(rows)))
    return sorted(cases, key=lambda case: case.name)


def _stacked(name: str, rows: list[_Row]) -> Case:
    sections = {row.section for row in rows}
    if len(sections) > 1:
        raise InputError(
            f"{rows[0].where}: expected all slices of {name} in one section, got {' and '.join(sorted(sections))}; "
            "divide the data by cases, not by slices"
        )
    labels = tuple(row.label for row in rows if row.label is not None)
    return stack_case(name, rows[0].section, tuple(row.image for row in rows), labels)


def _rows(settings: DataSettings) -> list[_Row]:
    path = settings.datalist
    assert path is not None  # site_config requires it
    content = _load(path)
    rows: list[_Row] = []
    for key, section in _SECTIONS.items():
        values = content.get(key, [])
        if not isinstance(values, list):
            raise InputError(f"{path}: {key}: expected a list of rows, got {type(values).__name__}; correct it")
        rows += [_row(value, section, f"{path}: {key}[{i}]", settings.root) for i, value in enumerate(values)]
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


def _row(value: Any, section: str, where: str, root: Path) -> _Row:
    row = {"image": value} if isinstance(value, str) else value
    if not isinstance(row, dict) or not isinstance(row.get("image"), str):
        raise InputError(f'{where}: expected {{"image": path, "label": path}}, got {str(value)[:80]!r}; correct it')
    label = row.get("label")
    if label is None and section != "test":
        raise InputError(f"{where}: expected a label, got none for {row['image']}; add it or move the row to test")
    if label is not None and not isinstance(label, str):
        raise InputError(f"{where}: expected the path of one label, got {str(label)[:80]!r}; correct it")
    return _Row(
        section, _inside(row["image"], root, where), None if label is None else _inside(label, root, where), where
    )


def _inside(name: str, root: Path, where: str) -> Path:
    """A list may come from elsewhere: it names files of the data root and no others."""
    path = Path(os.path.normpath(root / name))
    if not path.is_relative_to(root) or path == root:
        raise InputError(f"{where}: expected a file in {root}, got {name[:200]!r}; correct data.root or the list")
    return path


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _name(path: Path, root: Path) -> str:
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    name = inside.as_posix()
    for ending in (".gz", ".nii", ".png"):
        name = name.removesuffix(ending)
    return name
