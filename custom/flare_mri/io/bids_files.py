# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Files of a BIDS data set by their names, none of them outside its root."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from flare_mri.errors import InputError
from flare_mri.files import reading

_NAME = re.compile(r"(sub-[A-Za-z0-9]+)((?:_[a-z]+-[A-Za-z0-9]+)*)_([A-Za-z0-9]+)\.nii(?:\.gz)?")
_OF_LABELS = {"space", "res", "den", "seg", "atlas", "label", "desc"}  # entities that labels have beside their image's


class BidsFile(NamedTuple):
    """One file by its name.

    Attributes:
        path: of the file.
        subject: such as `sub-01`.
        entities: the other ones of the name, such as {"ses": "1", "desc": "manual"}.
        suffix: the part before the ending, such as `T1w` or `dseg`.
    """

    path: Path
    subject: str
    entities: dict[str, str]
    suffix: str

    @property
    def source(self) -> tuple[str, ...]:
        """The entities that an image and its labels share."""
        return (self.subject, *(f"{key}-{self.entities[key]}" for key in self.entities if key not in _OF_LABELS))

    def get(self, entity: str) -> str:
        """The value of an entity, empty where the name has none."""
        return self.entities.get(entity, "")


def find_files(top: Path, root: Path, suffixes: Sequence[str]) -> list[BidsFile]:
    """Files `<top>/sub-*/[ses-*/]anat/*_<suffix>.nii.gz` (or `.nii`), in the order of their names.

    Args:
        top: the data set, or a folder of its derivatives.
        root: the data set.
        suffixes: of the files to take.

    Raises:
        InputError: a folder that cannot be read, a name that is none of BIDS or does not fit its folder, a link that
            leads out of `root` or nowhere.
    """
    ending = re.compile(rf"_({'|'.join(suffixes)})\.nii(\.gz)?$")
    found = []
    for subject in subject_folders(top, root):
        sessions = [path for path in list_inside(subject, root) if path.name.startswith("ses-")]
        for folder in (subject, *sessions):
            anat, start = folder / "anat", "_".join(folder.relative_to(top).parts)
            for path in list_inside(anat, root) if anat.is_dir() else ():
                if ending.search(path.name):
                    found.append(_parse(check_inside(path, root), start))
    return found


def subject_folders(top: Path, root: Path) -> list[Path]:
    """Folders `<top>/sub-*`."""
    return [path for path in list_inside(top, root) if path.name.startswith("sub-") and path.is_dir()]


def list_inside(folder: Path, root: Path) -> list[Path]:
    """What is visible in a folder of `root`, in the order of the names; nothing where it is no folder.

    Raises:
        InputError: it cannot be read, or lies elsewhere.
    """
    check_inside(folder, root)
    with reading(folder, "correct its permissions"):
        return sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def check_inside(path: Path, root: Path) -> Path:
    """The path itself. Links are followed, as DataLad's are, but not out of the data set.

    Raises:
        InputError: it lies elsewhere.
    """
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise InputError(f"{path}: expected a file or folder in {root}, got a link out of it; copy it there")
    return path


def refuse_twins(files: Sequence[BidsFile], what: str, fix: str) -> None:
    """Refuses two files of the same image.

    Raises:
        InputError: there are two.
    """
    seen: dict[tuple[str, ...], Path] = {}
    for file in files:
        if file.source in seen:
            raise InputError(
                f"{file.path}: expected one {what} of {'_'.join(file.source)}, got {seen[file.source].name} too; {fix}"
            )
        seen[file.source] = file.path


def _parse(path: Path, start: str) -> BidsFile:
    name = _NAME.fullmatch(path.name)
    pairs = [pair.split("-") for pair in name[2].split("_")[1:]] if name else []
    if name is None or len(dict(pairs)) < len(pairs) or not path.name.startswith(f"{start}_"):
        raise InputError(
            f"{path}: expected a BIDS name {start}_[key-value_...]suffix.nii.gz as its folder has it, got another; "
            "rename it"
        )
    if not path.is_file():
        raise InputError(f"{path}: expected a file, got none or a link to none; fetch its content or take it out")
    return BidsFile(path, name[1], dict(pairs), name[3])
