# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong among the scans of a site, though each can be read: the same scan twice, a patient in two parts."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.patients import find_patients
from flare_mri.datasets.survey import ScanFacts
from flare_mri.io.scan import Scan


def find_parts(scans: Sequence[Scan], task: Any) -> dict[str, tuple[str, ...]]:
    """The parts of the split that slices of each scan are in, by the scan's name.

    Args:
        scans: of the site.
        task: made from them; None where none could be made: then what a data list says.
    """
    if task is None:
        return {scan.name: (scan.section,) if scan.section else () for scan in scans}
    data = task.data
    found: dict[str, tuple[str, ...]] = dict.fromkeys(data.volume_names, ())
    for part in ("train", "validation", "test"):
        dataset = getattr(data, part)
        if part == "validation" and dataset is data.test:
            continue
        for number in dict.fromkeys(volume for volume, _ in dataset.indices):
            found[data.volume_names[number]] += (part,)
    return found


def find_duplicates(facts: Sequence[ScanFacts], parts: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A line for each image whose content another file has too, whatever the files' names and compression.

    Args:
        facts: of all scans.
        parts: of the split, by the scan's name.
    """
    lines = []
    for first, *others in _alike(facts, lambda one: one.digest):
        for other in others:
            where = [f" ({', '.join(parts.get(one.scan.name, ()))})" for one in (first, other)]
            where = where if where[0] != where[1] else ["", ""]
            lines.append(
                f"{other.scan.origin}{where[1]}: expected each image once, got the content of {first.scan.origin}"
                f"{where[0]}; take one of them out"
            )
    return lines


def find_same_labels(facts: Sequence[ScanFacts]) -> list[str]:
    """A note on labels of the same content that are of different images: right only where the images fit together."""
    alike = [group for group in _alike(facts, lambda one: one.label_digest) if len({one.digest for one in group}) > 1]
    if not alike:
        return []
    names = " and ".join(one.scan.label.origin for one in alike[0][:2] if one.scan.label)
    return [f"labels of the same content: {sum(map(len, alike))}, such as {names}; each is to be of its own image"]


def _alike(facts: Sequence[ScanFacts], key: Callable[[ScanFacts], str]) -> list[list[ScanFacts]]:
    """Groups of two and more with the same key, which is not empty."""
    groups: dict[str, list[ScanFacts]] = defaultdict(list)
    for one in facts:
        groups[key(one)].append(one)
    return [group for name, group in groups.items() if name and len(group) > 1]


def find_divided_patients(scans: Sequence[Scan], parts: Mapping[str, tuple[str, ...]], config: SiteConfig) -> list[str]:
    """A line for each patient whose scans are in several parts, where the split is meant to keep patients apart."""
    listed = config.data.is_listed()
    if config.split.by == "slice" and not listed:
        return []
    by_patient: dict[str, dict[str, Scan]] = defaultdict(dict)
    patients = find_patients(scans)
    for scan in scans:
        for part in parts.get(scan.name, ()):
            by_patient[patients[scan.name]].setdefault(part, scan)
    fix = "give them one subject: a folder, or names that begin with sub-<patient>; or take all but one out"
    if listed:
        where_listed = next(iter(config.data.find_lists().values()), "the list")
        fix = f"move all rows of the patient to one section of {where_listed}"
    lines = []
    for patient, where in by_patient.items():
        if len(where) > 1:
            told = " and ".join(f"{part} ({Path(scan.origin).name})" for part, scan in where.items())
            first = next(iter(where.values()))
            lines.append(f"{first.origin}: expected patient {patient} in one part, got scans in {told}; {fix}")
    return lines
