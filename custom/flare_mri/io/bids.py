# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `bids`: a BIDS data set, with a folder of `derivatives` that holds segmentations of its images."""

from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from flare_mri.config.labelled import LabelledSettings
from flare_mri.errors import InputError
from flare_mri.files import reading
from flare_mri.io import prostate
from flare_mri.io.bids_files import BidsFile, check_inside, find_files, refuse_twins, subject_folders
from flare_mri.io.bids_table import find_organs
from flare_mri.io.format import SEGMENTATION, Format, in_files
from flare_mri.io.nifti_file import strip_ending, write_nifti
from flare_mri.io.prostate import make_scan
from flare_mri.io.scan import Scan

_SAME_SPACE = {"", "orig", "scanner"}  # and the image's own suffix, as fMRIPrep names it

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,64}$")]


class BidsSettings(LabelledSettings):
    """Settings of format `bids`; without `labels` names come from `dseg.tsv`, and a mask is of one organ."""

    suffix: Word
    """last part of the images' names, such as T1w"""
    derivative: Annotated[str, Field(pattern=r"^\w[\w .+-]{0,127}$")] | None = None
    """folder of `derivatives` that holds the labels; none: the only one there is"""
    desc: Word | None = None
    """which labels to take, by `desc-` in their names; none: those without, or else all"""

    @cached_property
    def told_organs(self) -> dict[str, tuple[int, ...]] | None:
        """Organs that the labels' tables name, read once; None: a mask, in which all values above 0 are the organ."""
        folder, labels = _find_derivative(self), _find_labels(self)
        if folder is None or not labels:
            return super().find_labels()
        if labels[0].suffix == "mask":
            return None
        return find_organs(labels, folder, self.root) or super().find_labels()

    def find_labels(self) -> dict[str, tuple[int, ...]] | None:
        return self.labels or self.told_organs


def find_bids(settings: BidsSettings) -> list[Scan]:
    """Scans of `<root>/sub-*/[ses-*/]anat/*_<suffix>.nii.gz`, labels in such folders of `derivatives/<derivative>`.

    A label has the entities of its image (`sub-01_ses-1_run-1`), perhaps `desc-` and more, and the suffix `dseg`, or
    where the site has none `mask`. Labels of another space or resolution are left out. A site in which no image has a
    label is taken as unlabelled.

    Raises:
        InputError: no image, an image without a label where others have one, two files for the same, a name that does
            not fit its folder, or a link that leads out of the data root.
    """
    images, labels = _find_images(settings), _find_labels(settings)
    of = {label.source: label.path for label in labels}
    for image in images:
        if labels and image.source not in of:
            raise InputError(
                f"{image.path}: expected a label {'_'.join(image.source)}_{labels[0].suffix}.nii.gz in "
                f"{_find_derivative(settings)} as other images have, got none; add it or take the image out"
            )
    return [_make_scan(image, of.get(image.source)) for image in images]


def find_unlabelled(settings: BidsSettings) -> list[Scan]:
    """New images: those of a BIDS data set or, where there are no folders `sub-*`, `<root>/*.nii.gz`.

    Raises:
        InputError: no image, or a name or link that :func:`find_bids` refuses.
    """
    if settings.root.is_dir() and subject_folders(settings.root, settings.root):
        return [_make_scan(image, None) for image in _find_images(settings)]
    return prostate.find_unlabelled(settings)


def _make_scan(image: BidsFile, label: Path | None) -> Scan:
    return make_scan(strip_ending(image.path.name), "", image.path, label, image.subject)


def _find_images(settings: BidsSettings) -> list[BidsFile]:
    images = find_files(settings.root, settings.root, (settings.suffix,))
    if not images:
        raise InputError(
            f"data.root: {settings.root}: expected images sub-*/[ses-*/]anat/*_{settings.suffix}.nii.gz, got none; "
            "correct data.root or data.suffix"
        )
    refuse_twins(images, "image", "remove one")
    return images


def _find_derivative(settings: BidsSettings) -> Path | None:
    """The folder that holds the labels; None where the site has none."""
    derivatives, name = settings.root / "derivatives", settings.derivative
    if name is not None:
        if not (derivatives / name).is_dir():
            raise InputError(f"data.derivative: expected a folder in {derivatives}, got {name!r}; correct it")
        return check_inside(derivatives / name, settings.root)
    if not derivatives.is_dir():
        return None
    with reading(derivatives, "correct its permissions"):
        check_inside(derivatives, settings.root)
        found = sorted(path for path in derivatives.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:8])
        raise InputError(f"data.derivative: expected one folder of {derivatives}, got {names}; set that of the labels")
    return check_inside(found[0], settings.root) if found else None


def _find_labels(settings: BidsSettings) -> list[BidsFile]:
    """One for an image, on its own voxels."""
    folder = _find_derivative(settings)
    found = [] if folder is None else find_files(folder, settings.root, ("dseg", "mask"))
    same = {*_SAME_SPACE, settings.suffix}
    near = [file for file in found if file.get("space") in same and not (file.get("res") or file.get("den"))]
    if found and not near:
        raise InputError(
            f"{found[0].path}: expected labels on the voxels of the images (without space- and res-), got none in "
            f"{folder}; resample them to the images, or correct data.derivative"
        )
    if settings.derivative is not None and not found:
        raise InputError(
            f"data.derivative: expected labels sub-*/[ses-*/]anat/*_dseg.nii.gz or *_mask.nii.gz in {folder}, got "
            "none; correct it, or leave it out at a site without labels"
        )
    wanted = [file for file in near if settings.desc in (None, file.get("desc"))]
    if near and not wanted:
        known = ", ".join(sorted({file.get("desc") for file in near} - {""})) or "none, since no label has desc-"
        raise InputError(f"data.desc: expected one of {folder} ({known}), got {settings.desc!r}; correct it")
    wanted = [file for file in wanted if file.suffix == "dseg"] or wanted
    if settings.desc is None:  # a label without it is that of the data set, others are more of the same image
        wanted = [file for file in wanted if not file.get("desc")] or wanted
    refuse_twins(wanted, "label", "set data.desc or remove one")
    return wanted


def sniff_bids(folder: Path) -> bool:
    """Folders of subjects with a folder `anat`, perhaps in that of a session."""
    return any(any(folder.glob(f"sub-*/{anat}")) for anat in ("anat", "ses-*/anat"))


def write_bids_sample(folder: Path, rng: np.random.Generator) -> None:
    """Two subjects, one of them with a session, and labels of one organ that a table names."""
    for place, name in (("sub-01/anat", "sub-01"), ("sub-02/ses-1/anat", "sub-02_ses-1")):
        label = np.zeros((20, 18, 4), np.uint8)
        label[6:12, 5:11, 1:3] = 3
        write_nifti(folder / place / f"{name}_T1w.nii.gz", rng.integers(1, 1000, label.shape).astype(np.int16))
        write_nifti(folder / "derivatives" / "manual" / place / f"{name}_desc-one_dseg.nii.gz", label)
    (folder / "derivatives" / "manual" / "dseg.tsv").write_text("index\tname\n3\tLeft Hippocampus\n")


BIDS = Format(
    "bids",
    (SEGMENTATION,),
    BidsSettings,
    in_files(find_bids),
    sniff_bids,
    write_bids_sample,
    sample_keys={"suffix": "T1w"},
    find_unlabelled=find_unlabelled,
)
