# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What lies in a folder of data: scans, sizes, spacings, contrasts and labels, from headers where they say it."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flare_mri.config.data import DataSettings
from flare_mri.datasets.patients import find_patients
from flare_mri.datasets.survey import find_contrast, turn
from flare_mri.errors import InputError
from flare_mri.io.formats import FORMATS, SEGMENTATION
from flare_mri.io.load import load_scan_file
from flare_mri.io.nifti_file import NIFTI_NAME, strip_ending
from flare_mri.io.raw.reader import raw_reader
from flare_mri.io.scan import Scan

_MOST_HEADERS, _MOST_LABELS, _MOST_RAW = 48, 12, 2  # scans that are looked at, evenly chosen
_LABEL_NAME = re.compile(r"(^|[\s_.-])(seg(mentation)?|label|mask)s?$", re.IGNORECASE)


@dataclass(frozen=True)
class FolderFacts:
    """Facts of a folder.

    Attributes:
        scans: all of them, none read.
        raw: whether they are k-space of all coils.
        undersampled: whether the raw scans were measured so.
        shapes: voxels along the three axes of scans that were looked at, turned to the settings' orientation.
        spacings: mm along these axes.
        codes: axis codes of scans as they are stored, and how many have them; empty where not known.
        values: in label files that were looked at; none without labels.
    """

    scans: list[Scan]
    raw: bool
    undersampled: bool
    shapes: list[tuple[int, ...]]
    spacings: list[tuple[float, ...]]
    codes: Counter[str]
    values: list[float]

    @property
    def labelled(self) -> int:
        """How many scans have a label."""
        return sum(scan.label is not None for scan in self.scans)

    @property
    def subjects(self) -> int:
        """How many subjects there are, whom a split by volume divides."""
        return len({scan.subject for scan in self.scans})

    @property
    def patients(self) -> int:
        """How many patients there are, by the names of files too, as flare-mri site check counts them."""
        return len(set(find_patients(self.scans).values()))


def look_at(settings: DataSettings, site: str) -> FolderFacts:
    """Looks at the scans that settings name.

    Args:
        settings: the section `data`.
        site: the site's name.

    Raises:
        InputError: no scan, files that do not fit together, or one of those looked at cannot be read.
    """
    entry = FORMATS[settings.format]
    scans = entry.find(settings, site, entry.tasks[0])
    raw, undersampled = SEGMENTATION not in entry.tasks and settings.is_raw(), False
    geometries = []
    for scan in choose(scans, _MOST_RAW if raw else _MOST_HEADERS):
        geometries.append(scan.image.geometry())
        if raw and len(geometries) == 1:
            undersampled = raw_reader(scan).read_raw(scan.files).target is None
    placed = [turn(geometry, settings.orientation) for geometry in geometries]
    values: set[float] = set()
    for scan in choose([scan for scan in scans if scan.label is not None], _MOST_LABELS):
        assert scan.label is not None
        values.update(load_scan_file(scan.label).as_tensor().unique().tolist())
    return FolderFacts(
        scans,
        raw,
        undersampled,
        [shape for shape, _ in placed],
        [spacing for _, spacing in placed],
        Counter(geometry.axcodes for geometry in geometries),
        sorted(values),
    )


def choose(scans: Sequence[Scan], most: int) -> list[Scan]:
    """At most so many scans, evenly chosen."""
    places = np.unique(np.linspace(0, len(scans) - 1, min(most, len(scans))).round().astype(int))
    return [scans[place] for place in places]


def contrasts_of_cases(folder: Path) -> list[str]:
    """Suffixes of the NIfTI files that every case folder has, `<case>/<case>_<suffix>.nii.gz`, without labels.

    Raises:
        InputError: the cases have none in common.
    """
    common: set[str] | None = None
    for case in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        names = [strip_ending(path.name) for path in case.iterdir() if NIFTI_NAME.search(path.name)]
        found = {name.removeprefix(f"{case.name}_") for name in names if name.startswith(f"{case.name}_")}
        common = found if common is None else common & found
    contrasts = sorted(name for name in common or () if not _LABEL_NAME.search(name))
    if not contrasts:
        raise InputError(f"{folder}: expected a contrast that every case has, got none; complete or remove cases")
    return contrasts


def most_common_suffix(folder: Path) -> str:
    """The last part of the names of most anatomical images of a BIDS data set, such as T1w.

    Raises:
        InputError: there is no such image.
    """
    images = [path for pattern in ("sub-*/anat", "sub-*/ses-*/anat") for path in folder.glob(f"{pattern}/*_*.nii*")]
    found = Counter(strip_ending(path.name).rpartition("_")[2] for path in images)
    if not found:
        raise InputError(f"{folder}: expected images sub-*/[ses-*/]anat/*_T1w.nii.gz, got none; correct the folder")
    return sorted(found, key=lambda name: (-found[name], name))[0]


def only_list(folder: Path) -> str:
    """The one JSON file of a folder.

    Raises:
        InputError: there is none, or there are several.
    """
    found = sorted(path for path in folder.glob("*.json"))
    if len(found) != 1:
        got = ", ".join(path.name for path in found) or "none"
        raise InputError(f"{folder}: expected one data list *.json, got {got}; name it with --datalist")
    return str(found[0].absolute())


def said_contrasts(scans: Sequence[Scan]) -> Counter[str]:
    """What ISMRMRD and fastMRI files call their contrasts, and how many scans have each; empty: not known."""
    found = Counter(map(find_contrast, scans))
    return found if any(found) else Counter()


def name_contrasts(scans: Sequence[Scan]) -> Counter[str]:
    """Contrasts by the last part of BIDS names (`sub-01_T1w.nii.gz`), and how many scans have each."""
    ends = [re.fullmatch(r"sub-.*_([A-Za-z0-9]+)", strip_ending(Path(scan.origin).name)) for scan in scans]
    return Counter(end[1] for end in ends if end)


REQUIRED: dict[str, tuple[Any, str]] = {
    "include": (contrasts_of_cases, "the contrasts that every case has"),
    "datalist": (only_list, "the one list that lies there"),
    "suffix": (most_common_suffix, "the images of which there are most"),
}
"""Keys that some formats require: what finds their values in a folder, and what they are."""
