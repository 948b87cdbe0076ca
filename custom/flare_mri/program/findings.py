# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""All that is found at a site: what a job would find, facts of every scan, and what to correct."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.patients import find_patients
from flare_mri.datasets.survey import ScanFacts, look_at_all, turn
from flare_mri.datasets.volumes import Preparation, find_scans
from flare_mri.deploy.check import build_tasks, describe_tasks
from flare_mri.errors import InputError
from flare_mri.io.formats import FORMATS, RECONSTRUCTION
from flare_mri.io.scan import Scan
from flare_mri.program.problems import (
    find_divided_patients,
    find_duplicates,
    find_parts,
    find_same_labels,
)
from flare_mri.transforms.masks import make_mask

_ENOUGH = 10  # patients that can be divided
_MOST_KINDS = 6  # told one by one


@dataclass
class TaskFindings:
    """Facts of the scans of one task.

    Attributes:
        facts: of every scan that can be read.
        patients: of every scan, by its name.
        parts: of the split that slices of each scan are in, by its name.
        masks: of k-space, by the size of slices, as told.
    """

    facts: list[ScanFacts] = field(default_factory=list)
    patients: dict[str, str] = field(default_factory=dict)
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)


@dataclass
class Findings:
    """All that is found at a site.

    Attributes:
        config: its settings.
        tasks: findings of each task that the data serve.
        ready: what a job will find, by task; empty where one would be stopped.
        problems: what to correct, a line each.
        notes: what to know, a line each.
    """

    config: SiteConfig
    tasks: dict[str, TaskFindings] = field(default_factory=dict)
    ready: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def tell(self, problems: Iterable[str]) -> None:
        """Keeps each problem once."""
        self.problems += [line for line in dict.fromkeys(problems) if line not in self.problems]


def look(config: SiteConfig, seed: int, pictures: bool) -> Findings:
    """Reads all data of a site, as a job does and scan by scan.

    Args:
        config: the site's settings.
        seed: of the job, which decides the split by volume.
        pictures: whether to take a slice of each scan.

    Raises:
        InputError: settings of several sites.
    """
    found = Findings(config)
    if config.members:
        raise InputError(f"site {config.site}: {config.file} has pooled_sites, which is for simulated sites; give data")
    if config.data.is_inverted():
        found.notes.append("data.inverted: images are taken as their negatives, in training and of new scans")
    tasks, stopped = {}, ""
    try:
        tasks = build_tasks(config, seed)
        found.ready = describe_tasks(tasks)
    except InputError as error:
        stopped = str(error).removeprefix(f"site {config.site!r}: ")
    for name in FORMATS[config.data.format].tasks:
        try:
            scans = find_scans(config, name)
        except InputError as error:
            found.tell([str(error)])
            continue
        found.tasks[name] = _look_at_task(found, scans, name, tasks.get(name), pictures)
    if stopped:
        found.tell([stopped])
    return found


def _look_at_task(found: Findings, scans: list[Scan], name: str, task: Any, pictures: bool) -> TaskFindings:
    config, result = found.config, TaskFindings(patients=find_patients(scans), parts=find_parts(scans, task))
    for scan, facts, problems in look_at_all(scans, config.data, pictures):
        found.tell(problems)
        if facts is not None:
            result.facts.append(facts)
            if task is None and not facts.coils:
                found.tell(_refusals(scan, config, name))
    found.tell(find_duplicates(result.facts, result.parts))
    found.tell(find_divided_patients(scans, result.parts, config))
    if name == RECONSTRUCTION:
        _find_masks(found, result)
    empty = [one.scan.name for one in result.facts if one.organs and not any(o.voxels for o in one.organs.values())]
    if empty:
        found.notes.append(f"labels that mark nothing: {len(empty)}, such as {empty[0]}")
    found.notes += find_same_labels(result.facts)
    patients = len(set(result.patients.values()))
    if not config.data.is_listed() and config.split.by == "slice" and patients >= _ENOUGH:
        found.notes.append(
            f"split.by: slice tests neighbours of training slices; {patients} patients suffice for volume"
        )
    return result


def _refusals(scan: Scan, config: SiteConfig, task: str) -> list[str]:
    """Why a job would refuse a scan that can be read."""
    try:
        Preparation(scan, config.data, task).make_plan()
    except InputError as error:
        return [str(error)]
    return []


def _find_masks(found: Findings, result: TaskFindings) -> None:
    """The site's sampling of k-space at each size of slices, as it is made."""
    config = found.config
    for one in result.facts:
        if one.acceleration > 1:
            continue
        size = config.data.spatial_size if not one.coils or config.data.spatial_size else None
        height, width = size or _slice_size(one, config)
        try:
            part = float(make_mask(config.mask, (height, width)).mean())
        except InputError as error:
            found.tell([str(error)])
            return
        result.masks[f"{height}x{width}"] = f"{config.mask.kind}, acceleration {1 / part:.2f}"


def _slice_size(one: ScanFacts, config: SiteConfig) -> tuple[int, int]:
    if one.coils:
        return one.shape[0], one.shape[1]
    shape, _ = turn(one.scan.image.geometry(), config.data.orientation)
    height, width = (n for at, n in enumerate(shape) if at != config.data.find_slice_axis())
    return height, width


def summarise(findings: TaskFindings) -> dict[str, Any]:
    """Counts of all scans of a task, in plain values."""
    facts = findings.facts
    if not facts:
        return {"scans": 0}
    told: dict[str, Any] = {
        "scans": len(facts),
        **({"not readable": len(findings.patients) - len(facts)} if len(facts) < len(findings.patients) else {}),
        "patients": len({findings.patients[one.scan.name] for one in facts}),
        "sizes": _count("x".join(map(str, one.shape)) for one in facts),
        "spacings in mm": _count("not known" if one.spacing is None else tell_mm(one.spacing) for one in facts),
        "orientations": _count(one.codes or "not known" for one in facts),
        "intensities": {
            "lowest": _range([one.intensities[0] for one in facts])[0],
            "medians": _range([one.intensities[1] for one in facts]),
            "highest": _range([one.intensities[3] for one in facts]),
        },
        "parts": _count(" and ".join(parts) for parts in findings.parts.values() if parts),
    }
    if any(one.coils for one in facts):
        told["coils"] = _count(str(one.coils) for one in facts)
        told["accelerations as measured"] = _count(f"{one.acceleration:.2f}" for one in facts)
    if any(one.contrast for one in facts):
        told["contrasts"] = _count(one.contrast or "not known" for one in facts)
    if findings.masks:
        told["masks"] = findings.masks
    labelled = [one for one in facts if one.organs is not None]
    if any(one.scan.label for one in facts):
        told["labels"] = len(labelled)
        told["organs"] = {
            name: summarise_organ(labelled, name) for name in (labelled[0].organs or {} if labelled else {})
        }
    return {key: value for key, value in told.items() if value != {}}


def summarise_organ(labelled: Sequence[ScanFacts], name: str) -> dict[str, Any]:
    """In how many scans an organ is marked, on how many slices, and its size: lowest, median, highest."""
    of_all = [one.organs[name] for one in labelled if one.organs]
    marked = [organ for organ in of_all if organ.voxels]
    sizes = [organ.ml for organ in marked if organ.ml is not None]
    told: dict[str, Any] = {"scans": len(marked)}
    if marked:
        told["slices"] = _range([organ.slices for organ in marked])
        told |= {"ml": _range(sizes)} if sizes else {"voxels": _range([organ.voxels for organ in marked])}
    return told


def tell_mm(spacing: Sequence[float]) -> str:
    """mm between voxels in words."""
    return "x".join(f"{step:.3g}" for step in spacing)


def _count(names: Iterable[str]) -> dict[str, int]:
    """How often each name comes, the most frequent first; of more than six those and all others together."""
    found = Counter(names).most_common()
    others = len(found) - _MOST_KINDS
    rest = {f"{others} others": sum(number for _, number in found[_MOST_KINDS:])} if others > 0 else {}
    return dict(found[:_MOST_KINDS]) | rest


def _range(values: Sequence[float]) -> list[float]:
    """Lowest, median and highest, in four digits; whole numbers stay whole."""
    found = (min(values), median(values), max(values))
    return [value if isinstance(value, int) else float(f"{value:.4g}") for value in found]
