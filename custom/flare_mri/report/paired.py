# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Paired test of methods over test volumes: the same volumes, scored under two methods.

Scores of single volumes lie in the site stores, beside the personal models; a test needs those at hand (``--stores``).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import wilcoxon

from flare_mri.config.results import PERSONAL
from flare_mri.errors import InputError
from flare_mri.metrics.metric_table import Metric
from flare_mri.metrics.volume_scores import SCORES_FILE
from flare_mri.report.comparison import Comparison
from flare_mri.report.volume_scores import find_rows, read_stores

FEWEST = 6
"""Pairs that differ, with fewer of which the signed-rank test gives no p below 0.05: the least is 2 / 2^n."""

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

    Raises:
        InputError: a folder that is none, a file that is none, or nothing at all of these runs.
    """
    kept = read_stores(stores)
    found: dict[str, dict[Place, dict[str, float]]] = {}
    for row in comparison.rows:
        for run in row.runs:
            for site, entry in run.entry["sites"].items():
                for name, scores in find_rows(kept, run.method, run.entry["job"], site, entry):
                    if name in (run.method, run.method + PERSONAL):
                        label = row.label + name.removeprefix(run.method)
                        places = {(run.seed, site, volume): dict(values) for volume, values in scores.items()}
                        found.setdefault(label, {}).update(places)
    if stores and not found:
        jobs = ", ".join(sorted({run.entry["job"] for row in comparison.rows for run in row.runs}))
        raise InputError(
            f"{', '.join(map(str, stores))}: expected <job>/<site>/**/{SCORES_FILE} of the runs of {jobs}, found none "
            "whose means are those of the results; give the stores of these very runs"
        )
    return found


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
