# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Questions that tables, charts and sentences ask of validated results."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flare_mri.config.results import BASELINES, PERSONAL
from flare_mri.metrics.metric_table import Metric, metrics_in


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts site-2 before site-10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", name) if part]


def site_names(results: dict[str, Any]) -> list[str]:
    """Every site of every method, in natural order."""
    return sorted({site for method in results["methods"].values() for site in method["sites"]}, key=natural)


def metrics_of(results: dict[str, Any]) -> list[Metric]:
    """The known metrics that any site reports, the main one first."""
    sites = [site for method in results["methods"].values() for site in method["sites"].values()]
    return metrics_in(key for site in sites for key in site.get("test") or {})


def leading_metrics(results: dict[str, Any]) -> list[Metric]:
    """The main metric, and after it what scores the sites that do not have it: those without fully sampled scans."""
    chosen: list[Metric] = []
    for method in results["methods"].values():
        for site in method["sites"].values():
            present = metrics_in(site.get("test") or {})
            if present and not set(present) & set(chosen):
                chosen.append(present[0])
    return [metric for metric in metrics_of(results) if metric in chosen]


Spread = Mapping[tuple[str, str | None], float]
"""(Row, site or None for the mean of sites) -> standard deviation over seeds."""


def _finite(scores: dict[str, Any] | None, key: str) -> float | None:
    value = (scores or {}).get(key)
    return float(value) if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Scores:
    """One metric of all methods at all sites.

    Attributes:
        metric: Of the numbers.
        sites: All sites, in natural order.
        values: method -> site -> value of the final model on the test slices; what learns nothing, the zero-filled
            input before all, comes first where the results hold it. Missing values are left out.
    """

    metric: Metric
    sites: list[str]
    values: dict[str, dict[str, float]]

    @property
    def methods(self) -> list[str]:
        """Rows of trained models only, in the order of the file."""
        return [method for method in self.values if method not in BASELINES.values()]

    def get(self, method: str, site: str) -> float | None:
        """The value, or None where the method has none at this site."""
        return self.values.get(method, {}).get(site)

    def mean(self, method: str) -> float | None:
        """Mean over the sites where the method has a value."""
        found = list(self.values.get(method, {}).values())
        return sum(found) / len(found) if found else None

    def coverage(self, method: str) -> int:
        """At how many sites the method has a value."""
        return len(self.values.get(method, {}))

    def comparable(self) -> list[str]:
        """Methods (and the baseline) whose means are over as many sites as the fullest one's."""
        most = max(map(self.coverage, self.values), default=0)
        return [method for method in self.values if most and self.coverage(method) == most]

    def best(self, site: str | None = None) -> set[str]:
        """The best at a site, or by mean for None; several where they are equal as shown, none where all are."""
        if site is None:
            found = {method: self.mean(method) for method in self.comparable()}
        else:
            found = {method: self.get(method, site) for method in self.values}
        known = {method: round(value, self.metric.digits) for method, value in found.items() if value is not None}
        if len(known) < 2:
            return set()
        if len(set(known.values())) < 2:
            return set()
        top = max(known.values()) if self.metric.higher_is_better else min(known.values())
        return {method for method, value in known.items() if value == top}

    def groups(self) -> list[Scores]:
        """The methods that have a site in common, directly or through others, with their sites alone: sites that
        trained and sites outside the federation make two tables, not one that is half empty."""
        found: list[tuple[set[str], list[str]]] = []
        for method, by_site in self.values.items():
            met = [group for group in found if group[0] & by_site.keys() or not by_site]
            rest = [group for group in found if not any(group is other for other in met)]
            sites = set(by_site).union(*(group[0] for group in met))
            found = [*rest, (sites, [*(name for group in met for name in group[1]), method])]
        order = list(self.values)
        groups = [(sites, sorted(methods, key=order.index)) for sites, methods in found]
        return [
            Scores(self.metric, [s for s in self.sites if s in sites], {m: self.values[m] for m in methods})
            for sites, methods in sorted(groups, key=lambda group: order.index(group[1][0]))
        ]

    def ranking(self) -> list[str]:
        """Rows with comparable means, what learns nothing among them, the best first."""
        return sorted(self.comparable(), key=lambda m: self.mean(m) or 0.0, reverse=self.metric.higher_is_better)


def rows_of(results: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Row of a table -> (method, whether of its personal models): a method that reports both has two rows."""
    rows = {}
    for name, method in results["methods"].items():
        rows[name] = (name, False)
        if any((site.get("personal") or {}).get("test") for site in method["sites"].values()):
            rows[name + PERSONAL] = (name, True)
    return rows


def collect(results: dict[str, Any], metric: Metric) -> Scores:
    """Test scores of the final and the personal models for one metric, with what learns nothing where known."""
    values: dict[str, dict[str, float]] = {}
    baselines: dict[str, dict[str, float]] = {title: {} for title in BASELINES.values()}
    for row, (name, personal) in rows_of(results).items():
        entries = results["methods"][name]["sites"].items()
        tests = {site: ((entry.get("personal") or {}) if personal else entry).get("test") for site, entry in entries}
        found = {site: _finite(test, metric.key) for site, test in tests.items()}
        values[row] = {site: value for site, value in found.items() if value is not None}
        for site, entry in entries:
            for key, title in BASELINES.items():
                value = _finite(entry.get(key), metric.key)
                if value is not None:
                    baselines[title].setdefault(site, value)
    known = {title: by_site for title, by_site in baselines.items() if by_site}
    return Scores(metric, site_names(results), known | values)


def privacy_spent(results: dict[str, Any]) -> dict[str, dict[str, tuple[float, float]]]:
    """Method -> site -> (ε, δ) of all its steps of DP-SGD; methods trained without it are left out."""
    spent = {
        name: {
            site: (entry["privacy"]["epsilon"], entry["privacy"]["delta"])
            for site, entry in method["sites"].items()
            if entry.get("privacy")
        }
        for name, method in results["methods"].items()
    }
    return {name: by_site for name, by_site in spent.items() if by_site}


Curve = tuple[list[int], list[float]]


def curve_split(results: dict[str, Any]) -> str:
    """``test`` where every method with rounds scored test slices in them, else ``validation``: never a mix."""
    trained = [method["rounds"] for method in results["methods"].values() if method["rounds"]]
    tested = all(any(site.get("test") for row in rounds for site in row["sites"].values()) for rounds in trained)
    return "test" if tested else "validation"


def round_curve(method: dict[str, Any], metric: Metric, site: str | None, part: str) -> Curve:
    """Score by round at a site; for None the mean, over the rounds in which every site has a score.

    Args:
        method: One method of the results.
        metric: The one to take.
        site: A site's name or None.
        part: Which scores of a round: ``test``, ``validation``, ``personal_test`` or ``personal_validation``.

    Returns:
        Numbers of the rounds, from 0, and values.
    """
    rounds: list[int] = []
    values: list[float] = []
    for entry in method["rounds"]:
        wanted: Iterable[str] = method["sites"] if site is None else [site]
        found = [_finite((entry["sites"].get(name) or {}).get(part), metric.key) for name in wanted]
        known = [value for value in found if value is not None]
        if known and len(known) == len(found):
            rounds.append(entry["round"])
            values.append(sum(known) / len(known))
    return rounds, values


def comparison_notes(results: dict[str, Any]) -> list[str]:
    """Reasons why the methods' numbers are less comparable than a table suggests, in plain sentences."""
    methods = results["methods"]
    notes = [
        f"The methods did not all see the same data at {site}: compare its rows with care."
        for site in _sites_of_other_data(results)
    ]
    if len(methods) > 1 and len({m["seed"] for m in methods.values()}) > 1:
        notes.append("The methods were run with different random seeds.")
    lengths = {len(m["rounds"]) for m in methods.values() if m["rounds"]}
    if len(lengths) > 1:
        notes.append(f"The methods were trained for different numbers of rounds ({min(lengths)} to {max(lengths)}).")
    return notes


def _sites_of_other_data(results: dict[str, Any]) -> Iterator[str]:
    for site in site_names(results):
        found = [m["sites"][site] for m in results["methods"].values() if site in m["sites"]]
        baselines = [[s[key] for s in found if s.get(key)] for key in BASELINES]
        data = [s["data"] for s in found if s.get("data")]
        if not all(map(_agree, baselines)) or any(other != data[0] for other in data[1:]):
            yield site


def saw_same_data(results: dict[str, Any]) -> bool:
    """Whether every method saw the same data at each site, as far as numbers of slices and baselines tell."""
    return not any(_sites_of_other_data(results))


def _agree(scores: list[dict[str, Any]]) -> bool:
    """Whether all known metrics are equal, to the rounding of different processors."""
    for metric in metrics_in(key for entry in scores for key in entry):
        known = [value for entry in scores if (value := _finite(entry, metric.key)) is not None]
        if known and not all(math.isclose(value, known[0], rel_tol=1e-3, abs_tol=1e-6) for value in known):
            return False
    return True
