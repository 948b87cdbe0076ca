# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `datalist_2d`: a list of slices or volumes, as of FLARE's 2D prostate example."""

from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from flare_mri.config.data import AxisCodes, File
from flare_mri.errors import InputError
from flare_mri.io.datalist import ListedSettings, Row, name_in_root, read_rows, stem_of, write_list
from flare_mri.io.format import SEGMENTATION, Format, in_files
from flare_mri.io.prostate import find_unlabelled, make_scan
from flare_mri.io.scan import Scan, ScanFile
from flare_mri.io.slice_files import StackReader, is_slice


class Datalist2DSettings(ListedSettings):
    """Settings of format `datalist_2d`."""

    datalist: File
    """the list"""
    orientation: AxisCodes | None = None
    """axis codes to which 3D scans are turned; none: as they are stored, as single slices always are"""

    def find_lists(self) -> dict[str, Path]:
        return {"data.datalist": self.datalist}


def find_datalist_2d(settings: Datalist2DSettings) -> list[Scan]:
    """Scans of a list of FLARE's prostate example (`datalist_2D/client_*.json`): as the Decathlon's, of 2D or 3D files.

    Slices whose names are numbers (`<site>/Image/<case>/12.png`) make up one volume for each folder, in the order of
    the numbers; any other 2D file is a volume of one slice.

    Raises:
        InputError: as for the Decathlon's; a folder of slices that is in two sections.
    """
    scans: list[Scan] = []
    slices: list[Row] = []
    for row in read_rows(settings.datalist, settings.root):
        name = name_in_root(row.image, settings.root)
        if not is_slice(row.image):
            scans.append(make_scan(name, row.section, row.image, row.label))
        elif stem_of(row.image).isdecimal():
            slices.append(row)
        else:
            labels = (row.label,) if row.label else ()
            scans.append(_make_stack(name, row.section, (row.image,), labels, settings.slice_axis))
    slices.sort(key=lambda row: (row.image.parent, int(stem_of(row.image))))
    for folder, rows in groupby(slices, key=lambda row: row.image.parent):
        scans.append(_stack_rows(name_in_root(folder, settings.root), list(rows), settings.slice_axis))
    return sorted(scans, key=lambda scan: scan.name)


def _stack_rows(name: str, rows: list[Row], axis: int) -> Scan:
    sections = {row.section for row in rows}
    if len(sections) > 1:
        raise InputError(
            f"{rows[0].where}: expected all slices of {name} in one section, got {' and '.join(sorted(sections))}; "
            "divide the data by cases, not by slices"
        )
    labels = tuple(row.label for row in rows if row.label is not None)
    return _make_stack(name, rows[0].section, tuple(row.image for row in rows), labels, axis)


def _make_stack(name: str, section: str, images: tuple[Path, ...], labels: tuple[Path, ...], axis: int) -> Scan:
    reader = StackReader(axis)
    return Scan(name, name, ScanFile(images, reader), ScanFile(labels, reader) if labels else None, section)


def sniff_datalist_2d(folder: Path) -> bool:
    """A list of single slices in PNG files, with the slices beside it."""
    lists = [path for path in folder.glob("*.json") if path.stat().st_size < 2**24]
    return any(".png" in path.read_text(errors="replace") for path in lists)


def write_datalist_2d_sample(folder: Path, rng: np.random.Generator) -> None:
    """A case of three slices for each section."""
    rows: dict[str, list[dict[str, str]]] = {}
    for section in ("training", "validation", "test"):
        rows[section] = []
        for number in range(3):
            label = np.zeros((20, 18), np.uint8)
            label[6:12, 5:11] = 255
            row = {"image": f"Image/{section}/{number}.png", "label": f"Mask/{section}/{number}.png"}
            for name, pixels in zip(
                row.values(), (rng.integers(1, 255, label.shape).astype(np.uint8), label), strict=True
            ):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / name)
            rows[section].append(row)
    write_list(folder, rows)


DATALIST_2D = Format(
    "datalist_2d",
    (SEGMENTATION,),
    Datalist2DSettings,
    in_files(find_datalist_2d),
    sniff_datalist_2d,
    write_datalist_2d_sample,
    sample_keys={"datalist": "datalist.json"},
    find_unlabelled=find_unlabelled,
)
