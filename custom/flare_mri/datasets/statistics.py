# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers of a site's patients, before anyone trains: one of a kind for each, however many scans there are."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median_low

import numpy as np

from flare_mri.config.data import DataSettings
from flare_mri.config.site import SiteConfig
from flare_mri.config.statistics import INTENSITY
from flare_mri.datasets.patients import find_patients
from flare_mri.datasets.survey import ScanFacts, look_at_scan, turn
from flare_mri.datasets.volumes import find_scans
from flare_mri.errors import InputError
from flare_mri.io.formats import FORMATS


@dataclass
class PatientNumbers:
    """Numbers of a site's patients.

    Attributes:
        values: feature of :data:`~flare_mri.config.statistics.FEATURE` -> a number for each patient that has it.
        shares: of the voxels in the bins of ``intensity``, a row for each patient that has it.
    """

    values: dict[str, list[float]] = field(default_factory=dict)
    shares: np.ndarray | None = None


def read_patients(config: SiteConfig, task: str, progress: Callable[[int, int], None]) -> PatientNumbers:
    """Reads all scans of a site.

    A patient with several scans counts once in each feature: with the lower median of its scans' numbers, which one of
    them has, and with the mean of their histograms. So what is said of five patients is of five people.

    Args:
        config: the site's settings.
        task: whose scans; empty: of the first one that the format serves.
        progress: is called with the number of scans read and of all, after each.

    Raises:
        InputError: settings of several sites, or a scan or a label that cannot be used; one line with site, file, fix.
    """
    if config.members:
        raise InputError(f"site {config.site!r}: {config.file} has pooled_sites, whose data their own sites tell of")
    try:
        scans = find_scans(config, task or FORMATS[config.data.format].tasks[0])
        patients = find_patients(scans)
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        shares: dict[str, list[np.ndarray]] = defaultdict(list)
        for number, scan in enumerate(scans, 1):
            facts, patient = look_at_scan(scan, config.data, picture=False), patients[scan.name]
            if facts.problems:
                raise InputError(facts.problems[0])
            for name, value in describe_scan(facts, config.data):
                found[name][patient].append(value)
            if facts.shares is not None:
                shares[patient].append(facts.shares)
            progress(number, len(scans))
    except InputError as error:
        raise InputError(f"site {config.site!r}: {str(error).removeprefix(f'site {config.site!r}: ')}") from error
    values = {name: [median_low(numbers) for numbers in of_all.values()] for name, of_all in sorted(found.items())}
    values["scans"] = _count(list(patients.values()))
    return PatientNumbers(values, np.array([np.mean(rows, axis=0) for rows in shares.values()]) if shares else None)


def describe_scan(facts: ScanFacts, data: DataSettings) -> Iterator[tuple[str, float]]:
    """Features and numbers of one scan, after it was turned as the site's settings say."""
    shape, steps = (facts.shape, facts.spacing) if facts.coils else turn(facts.geometry, data.orientation)
    axis = 2 if facts.coils else data.find_slice_axis()
    rows, columns = (at for at in range(3) if at != axis)
    yield from (("slices", shape[axis]), ("height", shape[rows]), ("width", shape[columns]))
    if facts.spacing is not None and steps is not None:
        yield from (("slice_spacing", steps[axis]), ("row_spacing", steps[rows]), ("column_spacing", steps[columns]))
    if facts.shares is not None:
        bright = facts.intensities[2]
        yield from ((INTENSITY, facts.mean / bright), ("brightness", math.log10(bright)))
    if facts.coils:
        yield from (("coils", facts.coils), ("acceleration", facts.acceleration))
    for organ, marked in (facts.organs or {}).items():
        yield f"label_slices.{organ}", marked.slices
        size = (f"label_voxels.{organ}", marked.voxels) if marked.ml is None else (f"volume_ml.{organ}", marked.ml)
        yield size


def _count(names: Sequence[str]) -> list[float]:
    return [float(names.count(name)) for name in dict.fromkeys(names)]
