# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Several runs as rows of one table: a row a method with its settings, over all seeds it was run with."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from flare_mri.config.results import BASELINES, PERSONAL
from flare_mri.errors import InputError
from flare_mri.metrics.metric_table import Metric
from flare_mri.report.comparable import natural
from flare_mri.report.results import load_results
from flare_mri.report.scores import collect, metrics_of
from flare_mri.report.tables import LOSS, NETWORK, flatten

_NO_DIFFERENCE = {"job", "training.seed", "seed", "training.lr_rounds", "network.config_type", "resume"}
"""Settings in which runs of one row may differ; ``lr_rounds`` follows from the rounds where it is not chosen."""
_MOST_TOLD = 3


class Run(NamedTuple):
    """One method of one results.json."""

    file: Path
    method: str
    entry: dict[str, Any]
    versions: dict[str, Any]

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.entry["seed"]


@dataclass(frozen=True)
class Row:
    """A method with its settings, and a run of it for each seed."""

    label: str
    runs: tuple[Run, ...]


def read_runs(files: Sequence[Path]) -> list[Run]:
    """All methods of several files.

    Raises:
        InputError: a file that is none, or is given twice.
    """
    twice = {file for file in files if [other.resolve() for other in files].count(file.resolve()) > 1}
    if twice:
        raise InputError(f"{min(twice)}: expected every results.json once, got it twice; name it once")
    runs = []
    for file in files:
        results = load_results(file)
        runs += [Run(file, name, entry, results["versions"]) for name, entry in results["methods"].items()]
    return runs


def at_common_sites(runs: Sequence[Run]) -> tuple[list[Run], dict[str, list[str]]]:
    """The runs with the entries of those sites alone that all of them have.

    Args:
        runs: of :func:`read_runs`, which stay as they are.

    Returns:
        The runs, and of each that has more sites the names of these, by "method of file".

    Raises:
        InputError: no site is in all runs.
    """
    common = set.intersection(*(set(run.entry["sites"]) for run in runs))
    if not common and len(runs) > 1:
        first = runs[0]
        other = min(runs[1:], key=lambda run: len(run.entry["sites"].keys() & first.entry["sites"]))
        other_sites, first_sites = _names(other.entry["sites"]), _names(first.entry["sites"])
        raise InputError(
            f"{other.file}: {other.method}: expected a site that all runs have, got {other_sites}, beside "
            f"{first_sites} of {first.method} in {first.file}; leave one out, and look at each by flare-mri report"
        )
    kept, left_out = [], {}
    for run in runs:
        sites = {site: entry for site, entry in run.entry["sites"].items() if site in common}
        if more := run.entry["sites"].keys() - common:
            left_out[f"{run.method} of {run.file}"] = sorted(more, key=natural)
        kept.append(run._replace(entry={**run.entry, "sites": sites}))
    return kept, left_out


def _names(sites: Iterable[str]) -> str:
    return ", ".join(sorted(sites, key=natural))


def group_runs(runs: Sequence[Run]) -> list[Row]:
    """Rows in the order of the runs; a label says in what rows differ: network and loss always, all else in a method.

    Raises:
        InputError: one row has two runs with the same seed.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    settings: dict[tuple[Any, ...], dict[str, str]] = {}
    for run in runs:
        found = {key: value for key, value in flatten(run.entry["settings"]) if key not in _NO_DIFFERENCE}
        group = (run.method, tuple(sorted(found.items())))
        other = next((known for known in groups.get(group, ()) if known.seed == run.seed), None)
        if other is not None:
            raise InputError(
                f"{run.file}: {run.method} with seed {run.seed} and these settings stands in {other.file} too; leave "
                "one out"
            )
        groups.setdefault(group, []).append(run)
        settings[group] = found
    rows: list[Row] = []
    for group, members in groups.items():
        same = [found for (method, _), found in settings.items() if method == group[0]]
        label = _label(group[0], settings[group], list(settings.values()), same)
        while label in {row.label for row in rows}:
            label += "'"
        rows.append(Row(label, tuple(sorted(members, key=lambda run: run.seed))))
    return rows


def _label(method: str, own: Mapping[str, str], every: list[dict[str, str]], same: list[dict[str, str]]) -> str:
    def differ(key: str, among: list[dict[str, str]]) -> bool:
        return len({found.get(key) for found in among}) > 1

    parts = []
    if differ(NETWORK, every):
        parts.append(own.get(NETWORK, "no network").rpartition(".")[2])
    if differ(LOSS, every):
        parts.append(f"loss {own.get(LOSS, 'not told')}")
    keys = sorted({key for found in same for key in found} - {NETWORK, LOSS})
    others = [f"{key.rpartition('.')[2]} {own.get(key, 'not set')}" for key in keys if differ(key, same)]
    more = len(others) - _MOST_TOLD
    parts += [*others[:_MOST_TOLD], f"and {more} more settings"] if more > 0 else others
    return ", ".join([method, *parts])


class Comparison:
    """Rows over several seeds.

    Attributes:
        rows: as :func:`group_runs` gives them.
        results: one entry a row as results.json has it, whose scores are means over the seeds; rounds are those of the
            first seed.
    """

    def __init__(self, rows: Sequence[Row]):
        self.rows = list(rows)
        methods = {row.label: _mean_entry(row) for row in rows}
        self.results: dict[str, Any] = {"format_version": 1, "versions": rows[0].runs[0].versions, "methods": methods}

    def metrics(self) -> list[Metric]:
        """What the runs report, the main one first."""
        return metrics_of(self.results)

    def spread(self, metric: Metric) -> dict[tuple[str, str | None], float]:
        """(Row of the table, site or None for the mean of sites) -> standard deviation over two and more seeds."""
        values: dict[tuple[str, str | None], list[float]] = {}
        for row in self.rows:
            for run in row.runs:
                scores = collect({"methods": {row.label: run.entry}}, metric)
                for name in scores.values:
                    if name in BASELINES.values():
                        continue  # what learns nothing stands in every row's runs
                    for site, value in scores.values[name].items():
                        values.setdefault((name, site), []).append(value)
                    if (mean := scores.mean(name)) is not None:
                        values.setdefault((name, None), []).append(mean)
        return {place: statistics.stdev(found) for place, found in values.items() if len(found) > 1}

    def find_row(self, name: str) -> str:
        """The row of the table that a person names, by its label or by a method that one row alone has.

        Raises:
            InputError: there is none, or several.
        """
        labels = self.table_rows()
        found = [label for label in labels if label == name] or [
            row.label for row in self.rows if row.runs[0].method == name
        ]
        if len(found) != 1:
            got = f"{len(found)} rows" if found else "none"
            raise InputError(f"--against {name}: expected one of {'; '.join(labels)}, got {got}; name one of these")
        return found[0]

    def table_rows(self) -> list[str]:
        """Rows of the table, those of personal models among them."""
        found = []
        for label, entry in self.results["methods"].items():
            personal = any((site.get("personal") or {}).get("test") for site in entry["sites"].values())
            found += [label, *([label + PERSONAL] if personal else [])]
        return found


def _mean_entry(row: Row) -> dict[str, Any]:
    """The entry of the first seed, with scores of final and personal models that are means over all seeds."""
    entry = copy.deepcopy(row.runs[0].entry)
    if len(row.runs) == 1:
        return entry
    sites = [run.entry["sites"] for run in row.runs]
    for name in {name for found in sites for name in found}:
        here = [found[name] for found in sites if name in found]
        target = entry["sites"].setdefault(name, copy.deepcopy(here[0]))
        target.pop("best", None)  # each seed has a best round of its own
        for key in ("test", *BASELINES):
            if any(site.get(key) for site in here):
                target[key] = _mean_scores([site.get(key) or {} for site in here])
        if spent := [site["privacy"] for site in here if site.get("privacy")]:
            target["privacy"] = max(spent, key=lambda one: one["epsilon"])
        personal = [(site.get("personal") or {}).get("test") or {} for site in here]
        if any(personal):
            target["personal"] = {**(target.get("personal") or {}), "test": _mean_scores(personal)}
    entry["seconds"] = sum(run.entry["seconds"] for run in row.runs)
    return entry


def _mean_scores(scores: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Means of what is a number."""
    found: dict[str, list[float]] = {}
    for one in scores:
        for key, value in one.items():
            found.setdefault(key, []).extend([value] if isinstance(value, int | float) else [])
    return {key: statistics.fmean(values) if values else None for key, values in found.items()}
