# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `decathlon`: 3D NIfTI files in a list as of the Medical Segmentation Decathlon."""

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field

from flare_mri.config.data import File
from flare_mri.io import prostate
from flare_mri.io.datalist import (
    ListedSettings,
    name_in_root,
    read_labels,
    read_rows,
    says_what_is_for_what,
    write_list,
)
from flare_mri.io.format import SEGMENTATION, Format, in_files
from flare_mri.io.nifti_file import ChannelReader, write_nifti
from flare_mri.io.prostate import make_scan
from flare_mri.io.scan import Scan, ScanFile


def _find_list(root: Path) -> Path:
    """One of ours goes before that of the download, which may lie beside it."""
    own, downloaded = root / "datalist.json", root / "dataset.json"
    return downloaded if downloaded.is_file() and not own.exists() else own


class DecathlonSettings(ListedSettings):
    """Settings of format `decathlon`."""

    datalist: File = Field(default_factory=lambda given: _find_list(given.get("root", Path())), validate_default=True)
    """the list; by default `<root>/datalist.json`, or else `<root>/dataset.json`"""
    channel: int | None = Field(None, ge=0, le=2**15 - 1)
    """number of the image to take, from 0, where files hold several (T2 and ADC); none: files hold one"""

    def find_lists(self) -> dict[str, Path]:
        return {"data.datalist": self.datalist}

    def is_listed(self) -> bool:
        return says_what_is_for_what(self.datalist)

    @cached_property
    def told_organs(self) -> dict[str, tuple[int, ...]] | None:
        """Organs that the list names, read once; None: it names none."""
        return read_labels(self.datalist)

    def find_labels(self) -> dict[str, tuple[int, ...]] | None:
        told = None if self.labels or self.merge_labels else self.told_organs
        return told or super().find_labels()


def find_decathlon(settings: DecathlonSettings) -> list[Scan]:
    """Scans of a list: `training`, `validation` and `test` hold rows {"image", "label"} of NIfTI files.

    Paths start at the data root. Rows of `test` may lack the label (all or none of them), or be the image's path alone.
    A list as it is downloaded, with volumes for training and at most unlabelled ones for test, does not say what is for
    what: its training volumes are divided as `split` says, the others are left out.

    Raises:
        InputError: not such a list, a file that is missing, outside the data root or listed twice, a row without label.
    """
    if settings.is_listed():
        rows = read_rows(settings.datalist, settings.root)
    else:
        rows = [row._replace(section="") for row in read_rows(settings.datalist, settings.root, ("train",))]
    scans = [make_scan(name_in_root(row.image, settings.root), row.section, row.image, row.label) for row in rows]
    return [_take_channel(scan, settings) for scan in scans]


def find_unlabelled(settings: DecathlonSettings) -> list[Scan]:
    """Images of `<root>/*.nii.gz`, see :func:`flare_mri.io.prostate.find_unlabelled`; of each the channel that counts.

    Raises:
        InputError: no image.
    """
    return [_take_channel(scan, settings) for scan in prostate.find_unlabelled(settings)]


def _take_channel(scan: Scan, settings: DecathlonSettings) -> Scan:
    return replace(scan, image=ScanFile(scan.image.files, ChannelReader(settings.channel)))


def sniff_decathlon(folder: Path) -> bool:
    """A list whose rows name NIfTI files."""
    return _names_in(folder) is not None and all(".nii" in name for name in _names_in(folder) or [])


def _names_in(folder: Path) -> list[str] | None:
    path = _find_list(folder)
    if not path.is_file() or path.stat().st_size > 2**24:
        return None
    try:
        content = json.loads(path.read_text())
    except ValueError:
        return None
    rows = (
        [row for rows in content.values() if isinstance(rows, list) for row in rows]
        if isinstance(content, dict)
        else []
    )
    return [
        row["image"] if isinstance(row, dict) else str(row)
        for row in rows
        if not isinstance(row, dict) or "image" in row
    ]


def write_decathlon_sample(folder: Path, rng: np.random.Generator) -> None:
    """A case for each section."""
    rows: dict[str, list[dict[str, str]]] = {}
    for section in ("training", "validation", "test"):
        label = np.zeros((20, 18, 4), np.uint8)
        label[6:12, 5:11, 1:3] = 1
        image, truth = f"images/{section}.nii.gz", f"labels/{section}.nii.gz"
        write_nifti(folder / image, rng.integers(1, 1000, label.shape).astype(np.int16))
        write_nifti(folder / truth, label)
        rows[section] = [{"image": image, "label": truth}]
    write_list(folder, rows)


DECATHLON = Format(
    "decathlon",
    (SEGMENTATION,),
    DecathlonSettings,
    in_files(find_decathlon),
    sniff_decathlon,
    write_decathlon_sample,
    find_unlabelled=find_unlabelled,
)
