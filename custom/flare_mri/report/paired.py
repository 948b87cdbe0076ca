# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Paired test of methods over test volumes: the same volumes, scored under two methods.

Scores of single volumes stand in no results.json, since no number of a single patient leaves a hospital. They lie in
the site stores, beside the personal models; a test needs those at hand (``--stores``).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import wilcoxon

from flare_mri.config.results import PERSONAL
from flare_mri.errors import InputError
from flare_mri.metrics.metric_table import Metric
from flare_mri.metrics.volume_scores import SCORES_FILE, Rows, load_scores
from flare_mri.report.comparison import Comparison, Run

FEWEST = 6
"""Pairs that differ, with fewer of which the signed-rank test gives no p below 0.05: the least is 2 / 2^n."""
_SAME = 1e-4  # relative: what a site tells is the mean of what it keeps

Place = tuple[int, str, str]
"""Seed, site, pseudonym of a volume."""


class PairedTest(NamedTuple):
    """Outcome of a Wilcoxon signed-rank test, two-sided.

    Attributes:
        row: of the table.
        pairs: volumes that both rows scored; each counts once, with its mean difference over the seeds of both.
        median: of the differences to the reference, in the metric's unit; None without pairs.
        better: volumes at which the row is better.
        p: None where nothing can be said.
        adjusted: p after Holm's correction for all rows that are tested.
        note: why nothing can be said; else empty.
    """

    row: str
    pairs: int
    median: float | None
    better: int
    p: float | None
    adjusted: float | None
    note: str

    @property
    def numbers(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict()


def find_scores(comparison: Comparison, stores: Sequence[Path]) -> dict[str, dict[Place, dict[str, float]]]:
    """Row of the table -> scores of volumes, from the stores of the runs that are compared.

    A file belongs to a run where job and site are the run's, and its means are what the site told.

    Raises:
        InputError: a folder that is none, a file that is none, or nothing at all of these runs.
    """
    files: dict[tuple[str, str], list[Rows]] = {}
    for store in stores:
        if not store.is_dir():
            raise InputError(f"{store}: expected the folder of a site store, found none; check --stores")
        for path in sorted(store.resolve().rglob(SCORES_FILE)):
            for job, site in (path.parts[-3:-1], path.parts[-4:-2]):  # a run's own folder may lie between
                files.setdefault((job, site), []).append(load_scores(path))
    found: dict[str, dict[Place, dict[str, float]]] = {}
    for row in comparison.rows:
        for run in row.runs:
            for site, entry in run.entry["sites"].items():
                kept = files.get((run.entry["job"], site), [])
                for name, test in _tests(run, entry):
                    for scores in [rows[name] for rows in kept if name in rows and _is_mean(rows[name], test)][:1]:
                        label = row.label + (PERSONAL if name.endswith(PERSONAL) else "")
                        places = {(run.seed, site, volume): dict(values) for volume, values in scores.items()}
                        found.setdefault(label, {}).update(places)
    if stores and not found:
        jobs = ", ".join(sorted({run.entry["job"] for row in comparison.rows for run in row.runs}))
        raise InputError(
            f"{', '.join(map(str, stores))}: expected <job>/<site>/**/{SCORES_FILE} of the runs of {jobs}, found none "
            "whose means are those of the results; give the stores of these very runs"
        )
    return found


def _tests(run: Run, entry: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield run.method, entry.get("test") or {}
    if personal := (entry.get("personal") or {}).get("test"):
        yield run.method + PERSONAL, personal


def _is_mean(scores: Any, test: dict[str, Any]) -> bool:
    """Whether the volumes' scores are those that a site's mean was made of; a metric of slices is not compared."""
    if not scores:
        return False
    keys = [key for key in next(iter(scores.values())) if isinstance(test.get(key), int | float)]
    pairs = [(statistics.fmean(values[key] for values in scores.values()), test[key]) for key in keys]
    return bool(pairs) and any(math.isclose(mean, told, rel_tol=_SAME, abs_tol=1e-9) for mean, told in pairs)


def compare_pairs(
    scores: dict[str, dict[Place, dict[str, float]]], rows: Sequence[str], against: str, metric: Metric
) -> list[PairedTest]:
    """Every row against one of them.

    Args:
        scores: of :func:`find_scores`.
        rows: of the table.
        against: the reference.
        metric: that volumes have; of others there are no pairs.
    """
    tests = [_test(scores.get(row, {}), scores.get(against, {}), row, metric) for row in rows if row != against]
    ranked = sorted((test.p, number) for number, test in enumerate(tests) if test.p is not None)
    least = 0.0
    for rank, (p, number) in enumerate(ranked):  # Holm 1979: step-down Bonferroni
        least = max(least, min(1.0, p * (len(ranked) - rank)))
        tests[number] = tests[number]._replace(adjusted=least)
    return tests


def _test(
    one: dict[Place, dict[str, float]], two: dict[Place, dict[str, float]], row: str, metric: Metric
) -> PairedTest:
    by_volume: dict[tuple[str, str], list[float]] = {}
    for place in one.keys() & two.keys():
        values = one[place].get(metric.key), two[place].get(metric.key)
        if values[0] is not None and values[1] is not None:
            by_volume.setdefault(place[1:], []).append(values[0] - values[1])
    differences = [statistics.fmean(found) for _, found in sorted(by_volume.items())]
    moved = [difference for difference in differences if difference]
    better = sum((difference > 0) == metric.higher_is_better for difference in moved)
    median = statistics.median(differences) if differences else None
    if len(moved) >= FEWEST:
        return PairedTest(row, len(differences), median, better, float(wilcoxon(moved).pvalue), None, "")
    note = "no volume is scored under both with the same seed"
    if differences:
        note = f"too few pairs to say anything: {len(moved)} differ, the test needs {FEWEST}"
    return PairedTest(row, len(differences), median, better, None, None, note)
