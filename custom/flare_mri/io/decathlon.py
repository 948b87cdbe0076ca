# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `decathlon`: 3D NIfTI files in a list as of the Medical Segmentation Decathlon."""

import json
from pathlib import Path

import numpy as np
from pydantic import Field

from flare_mri.config.data import File
from flare_mri.io.datalist import ListedSettings, name_in_root, read_labels, read_rows, write_list
from flare_mri.io.format import SEGMENTATION, Format, in_files
from flare_mri.io.nifti_file import write_nifti
from flare_mri.io.prostate import find_unlabelled, make_scan
from flare_mri.io.scan import Scan

_LIST = "datalist.json"


class DecathlonSettings(ListedSettings):
    """Settings of format `decathlon`."""

    datalist: File = Field(default_factory=lambda given: given.get("root", Path()) / _LIST, validate_default=True)
    """the list; by default `<root>/datalist.json`"""

    def find_lists(self) -> dict[str, Path]:
        return {"data.datalist": self.datalist}

    def find_labels(self) -> dict[str, tuple[int, ...]] | None:
        told = None if self.labels or self.merge_labels else read_labels(self.datalist)
        return told or super().find_labels()


def find_decathlon(settings: DecathlonSettings) -> list[Scan]:
    """Scans of `datalist.json`: `training`, `validation` and `test` hold rows {"image", "label"} of 3D NIfTI files.

    Paths start at the data root. Rows of `test` may lack the label (all or none of them), or be the image's path alone.

    Raises:
        InputError: not such a list, a file that is missing, outside the data root or listed twice, a row without label.
    """
    rows = read_rows(settings.datalist, settings.root)
    return [make_scan(name_in_root(row.image, settings.root), row.section, row.image, row.label) for row in rows]


def sniff_decathlon(folder: Path) -> bool:
    """A list whose rows name NIfTI files."""
    return _names_in(folder) is not None and all(".nii" in name for name in _names_in(folder) or [])


def _names_in(folder: Path) -> list[str] | None:
    path = folder / _LIST
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
    listed=True,
)
