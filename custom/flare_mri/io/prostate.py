# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `prostate`: a folder of 3D NIfTI images, of whatever organ, each with its label beside it."""

import re
from pathlib import Path

import numpy as np

from flare_mri.config.data import NiftiSettings
from flare_mri.config.labelled import LabelledSettings
from flare_mri.errors import InputError
from flare_mri.io.format import SEGMENTATION, Format, in_files
from flare_mri.io.listing import list_entries
from flare_mri.io.nifti_file import NIFTI_NAME, NiftiReader, strip_ending, write_nifti
from flare_mri.io.scan import Scan, ScanFile

_LABEL = re.compile(r"[\s_-]*seg(mentation)?$", re.IGNORECASE)


class ProstateSettings(LabelledSettings):
    """Settings of format `prostate`; without `labels` all values above 0 are the organ."""

    def find_labels(self) -> dict[str, tuple[int, ...]] | None:
        return self.labels


def find_prostate(settings: ProstateSettings) -> list[Scan]:
    """Scans of `<root>/CaseNN.nii.gz` with `CaseNN_segmentation.nii.gz`.

    Case, spaces, `_` and `-` do not matter (`Case00_Segmentation.nii.gz`, `case00-seg.nii`). A site in which no case
    has a label is taken as unlabelled.

    Raises:
        InputError: no image, an image or a label without the other, or two files for the same.
    """
    images: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    for path in list_entries(settings.root, _has_nifti_name, "NIfTI files CaseNN.nii.gz"):
        stem = strip_ending(path.name)
        name = _LABEL.sub("", stem)
        files = images if name == stem else labels
        key = re.sub(r"[\s_-]", "", name).lower()
        if key in files:
            raise InputError(f"{path}: expected one file for case {key!r}, got {files[key].name} too; remove one")
        files[key] = path
    for key, path in labels.items():
        if key not in images:
            raise InputError(f"{path}: expected its image beside it, got none; add the image or remove the label")
    for key, path in images.items():
        if labels and key not in labels:
            raise InputError(
                f"{path}: expected {strip_ending(path.name)}_segmentation.nii.gz beside it as the other cases have, "
                "got none; add the label or remove the case"
            )
    return [make_scan(key, "", path, labels.get(key)) for key, path in images.items()]


def find_unlabelled(settings: NiftiSettings) -> list[Scan]:
    """Images of `<root>/*.nii.gz`, whatever their names; files named as labels are left out.

    Raises:
        InputError: no image.
    """
    paths = list_entries(settings.root, _is_image, "NIfTI images *.nii or *.nii.gz")
    return [make_scan(strip_ending(path.name), "", path, None) for path in paths]


def make_scan(name: str, section: str, image: Path, label: Path | None, subject: str = "") -> Scan:
    """A scan of one 3D NIfTI file and one for its label, of a subject of its own where none is given."""
    return Scan(
        name,
        subject or name,
        ScanFile((image,), NiftiReader()),
        None if label is None else ScanFile((label,), NiftiReader()),
        section,
    )


def sniff_prostate(folder: Path) -> bool:
    """A folder of NIfTI files of which some are named as labels, and no list."""
    names = [path.name for path in folder.iterdir() if _has_nifti_name(path)]
    return not (folder / "datalist.json").exists() and any(_LABEL.search(strip_ending(name)) for name in names)


def write_prostate_sample(folder: Path, rng: np.random.Generator) -> None:
    """Four cases with labels in three of five slices."""
    for number in range(4):
        label = np.zeros((20, 18, 5), np.uint8)
        label[6:12, 5:11, 1:4] = 1
        write_nifti(folder / f"Case{number:02d}.nii.gz", rng.integers(1, 1000, label.shape).astype(np.int16))
        write_nifti(folder / f"Case{number:02d}_segmentation.nii.gz", label)


def _has_nifti_name(path: Path) -> bool:
    return bool(NIFTI_NAME.search(path.name))


def _is_image(path: Path) -> bool:
    return _has_nifti_name(path) and not _LABEL.search(strip_ending(path.name))


PROSTATE = Format(
    "prostate",
    (SEGMENTATION,),
    ProstateSettings,
    in_files(find_prostate),
    sniff_prostate,
    write_prostate_sample,
    find_unlabelled=find_unlabelled,
)
