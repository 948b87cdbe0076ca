# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Questions that tables, charts and sentences ask of validated results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flare_mri.config.results import BASELINE, BASELINES, PERSONAL
from flare_mri.metrics.metric_table import KNOWN, Metric, metrics_in
from flare_mri.report.comparable import finite, site_names, why_unranked

LEAST_DICE = 0.05
"""Mean Dice below which a model misses the organ."""


def method_of(row: str) -> str:
    """The method whose model stands in a row of a table: its global model and its personal ones are no rivals."""
    return row.removesuffix(PERSONAL)


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


@dataclass(frozen=True)
class Scores:
    """One metric of all methods at all sites.

    Attributes:
        metric: Of the numbers.
        sites: All sites, in natural order.
        values: method -> site -> value of the final model on the test slices; what learns nothing, the zero-filled
            input before all, comes first where the results hold it. Missing values are left out.
        dice: The same of the Dice of outlines; empty for reconstruction.
        unranked: Why no row is named best; empty where one may be.
    """

    metric: Metric
    sites: list[str]
    values: dict[str, dict[str, float]]
    dice: dict[str, dict[str, float]] = field(default_factory=dict)
    unranked: str = ""

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
        """The best at a site, or by mean for None; several where they are equal as shown, none where all are.

        None either where there is one method alone, or none may be named; a model that misses the organ is never best.
        """
        if self.unranked or len({method_of(row) for row in self.values if row != BASELINE}) < 2:
            return set()
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
        return {method for method, value in known.items() if value == top and not self.misses(method, site)}

    def misses(self, method: str, site: str | None = None) -> bool:
        """Whether a model misses the organ at a site, or by mean for None: its Dice is below :data:`LEAST_DICE`."""
        of_sites = self.dice.get(method, {})
        found = list(of_sites.values()) if site is None else [of_sites[site]] if site in of_sites else []
        return bool(found) and sum(found) / len(found) < LEAST_DICE

    def without_own_rows(self, winner: str) -> Scores:
        """The same without the other rows of the winner's own method."""
        kept = {row: v for row, v in self.values.items() if row == winner or method_of(row) != method_of(winner)}
        return replace(self, values=kept)

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
            replace(
                self,
                sites=[s for s in self.sites if s in sites],
                values={m: self.values[m] for m in methods},
                dice={m: self.dice[m] for m in methods if m in self.dice},
            )
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
    dice: dict[str, dict[str, float]] = {}
    baselines: dict[str, dict[str, float]] = {title: {} for title in BASELINES.values()}
    for row, (name, personal) in rows_of(results).items():
        entries = results["methods"][name]["sites"].items()
        tests = {site: ((entry.get("personal") or {}) if personal else entry).get("test") for site, entry in entries}
        found = {site: finite(test, metric.key) for site, test in tests.items()}
        values[row] = {site: value for site, value in found.items() if value is not None}
        overlaps = {site: finite(test, "dice") for site, test in tests.items()}
        if any(value is not None for value in overlaps.values()):
            dice[row] = {site: value for site, value in overlaps.items() if value is not None}
        for site, entry in entries:
            for key, title in BASELINES.items():
                value = finite(entry.get(key), metric.key)
                if value is not None:
                    baselines[title].setdefault(site, value)
    known = {title: by_site for title, by_site in baselines.items() if by_site}
    return Scores(metric, site_names(results), known | values, dice, why_unranked(results))


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
        found = [finite((entry["sites"].get(name) or {}).get(part), metric.key) for name in wanted]
        known = [value for value in found if value is not None]
        if known and len(known) == len(found):
            rounds.append(entry["round"])
            values.append(sum(known) / len(known))
    return rounds, values


def tell_misses(results: dict[str, Any]) -> list[str]:
    """Models that miss the organ, in a sentence each, and then what their other scores are worth."""
    scores = collect(results, KNOWN["dice"])
    found = {row: [site for site in scores.sites if scores.misses(row, site)] for row in scores.dice}
    told = [
        f"{row} misses the organ at {', '.join(sites)}: its mean Dice is below {LEAST_DICE:g} there."
        for row, sites in found.items()
        if sites
    ]
    if not told:
        return []
    return [
        *told,
        "Where nothing is marked in a volume, Dice is 0, HD95 the diagonal of the whole volume, the largest distance "
        "that there can be, and no slice is marked falsely: such HD95 and false slices measure no outline.",
    ]
