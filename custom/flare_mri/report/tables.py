# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of the page: scores of all sites, all scores of one site, settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from flare_mri.config.results import BASELINE
from flare_mri.metrics.metric_table import MISSING, Metric
from flare_mri.report.comparable import site_names
from flare_mri.report.scores import Scores, Spread, collect, privacy_spent, rows_of
from flare_mri.report.volume_scores import Volumes

_OVERLAPS, _MISSES = ("dice", "slice_dice"), "misses the organ"
NETWORK, LOSS = "network.path", "training.loss"
"""Names of two settings by which runs are told apart."""


class Cell(NamedTuple):
    """A number or words, perhaps with a smaller line below, perhaps the best of the column."""

    text: str
    below: str = ""
    best: bool = False
    prose: bool = False


class Table(NamedTuple):
    """A caption, the names of columns, and rows as pairs of a name and cells; `kind` is a style class."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    kind: str = "wide"


def table_of(
    caption: str, header: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], kind: str = "wide"
) -> Table:
    """A table whose cells are texts alone."""
    cells = tuple((name, tuple(map(Cell, texts))) for name, texts in rows)
    return Table(caption, tuple(header), cells, kind)


def overview(scores: Scores, spread: Spread | None = None) -> Table:
    """Methods by sites for one metric, with the mean where there are several sites, and with deviations over seeds."""
    metric, with_input = scores.metric, BASELINE in scores.values
    columns = [*scores.sites, None] if len(scores.sites) > 1 else scores.sites
    rows = []
    for method in scores.values:
        cells = []
        for site in columns:
            value = scores.mean(method) if site is None else scores.get(method, site)
            below = ""
            if with_input and method != BASELINE:
                reference = scores.mean(BASELINE) if site is None else scores.get(BASELINE, site)
                same_sites = site is not None or set(scores.values[method]) == set(scores.values[BASELINE])
                below = metric.difference(value, reference) if same_sites else ""
            if site is None and (number := scores.coverage(method)) < len(scores.sites):
                below = f"{below}, {number} of {len(scores.sites)} sites".lstrip(", ")
            if metric.key in _OVERLAPS and scores.misses(method, site):
                below = ", ".join(filter(None, (below, _MISSES)))
            text = metric.number(value) + metric.deviation((spread or {}).get((method, site)))
            cells.append(Cell(text, below.replace(MISSING, ""), method in scores.best(site)))
        rows.append((method, tuple(cells)))
    caption = f"{metric.heading} on the test data at {', '.join(scores.sites)}, {metric.direction}"
    caption += "; mean ± standard deviation over seeds" if spread else ""
    caption += "; small print: difference to zero-filled" if with_input else ""
    return Table(caption, ("Method", *(site or "Mean of sites" for site in columns)), tuple(rows))


def privacy_table(results: dict[str, Any]) -> Table | None:
    """The ε that each site spent by DP-SGD, with its δ, methods by sites; None where no method was trained so."""
    spent = privacy_spent(results)
    sites = [site for site in site_names(results) if any(site in by_site for by_site in spent.values())]
    rows = [
        (name, tuple(_spent(by_site[site]) if site in by_site else Cell(MISSING) for site in sites))
        for name, by_site in spent.items()
    ]
    caption = "ε spent by DP-SGD in the whole run, lower is better; small print: the δ at which it holds"
    return Table(caption, ("Method", *sites), tuple(rows)) if rows else None


def _spent(privacy: tuple[float, float]) -> Cell:
    return Cell(f"{privacy[0]:.3g}", f"δ {privacy[1]:.3g}")


def site_table(results: dict[str, Any], metrics: list[Metric], site: str) -> Table:
    """All metrics of one site, the best of each marked, with the difference of the main one to zero-filled."""
    main, *others = every = [collect(results, metric) for metric in metrics]
    baseline = main.get(BASELINE, site)
    chosen = any("best" in m["sites"].get(site, {}) for m in results["methods"].values())
    header = ["Method", main.metric.heading]
    if baseline is not None:
        header.append(f"To zero-filled ({main.metric.unit})" if main.metric.unit else "To zero-filled")
    header += [scores.metric.heading for scores in others]
    header += [f"Kept model: {main.metric.heading}"] if chosen else []
    names, rows = rows_of(results), []
    for method in main.values:
        name, personal = names.get(method, ("", True))
        if main.get(method, site) is None and site not in results["methods"].get(name, {}).get("sites", {}):
            continue
        cells = [_score(s, method, site) for s in every]
        if baseline is not None:
            difference = main.metric.difference(main.get(method, site), baseline) if method != BASELINE else MISSING
            cells.insert(1, Cell(difference.removesuffix(f" {main.metric.unit}")))
        if chosen:
            best = None if personal else results["methods"][name]["sites"][site].get("best")
            cells.append(_kept(best, main.metric))
        rows.append((method, tuple(cells)))
    directions = "; ".join(f"{metric.name}: {metric.direction}" for metric in metrics)
    kept = " Kept model: the round that was best on validation." if chosen else ""
    return Table(f"{site}, final models on the test data. {directions}.{kept}", tuple(header), tuple(rows))


def _score(scores: Scores, method: str, site: str) -> Cell:
    value = scores.metric.number(scores.get(method, site))
    missed = scores.metric.key in _OVERLAPS and value != MISSING and scores.misses(method, site)
    return Cell(value, _MISSES if missed else "", method in scores.best(site))


def spread_table(metrics: Sequence[Metric], site: str, scores: Mapping[str, Volumes]) -> Table | None:
    """How the scores of a site's test volumes differ, row by row; None where none are at hand.

    Args:
        metrics: The first that volumes have is shown.
        site: Its name.
        scores: row of the tables -> scores of volumes.
    """
    known = [values for volumes in scores.values() for values in volumes.values()]
    metric = next((metric for metric in metrics if any(metric.key in values for values in known)), None)
    if metric is None:
        return None
    rows = []
    for method, volumes in scores.items():
        values = np.array([values[metric.key] for values in volumes.values() if metric.key in values])
        if not len(values):
            continue
        deviation = float(values.std(ddof=1)) if len(values) > 1 else None
        found = [float(values.mean()), deviation, *map(float, (values.min(), np.median(values), values.max()))]
        rows.append((method, [str(len(values)), *map(metric.number, found)]))
    header = ("Method", "Volumes", "Mean", "Standard deviation", "Lowest", "Median", "Highest")
    return table_of(f"{metric.heading} of the single test volumes at {site}", header, rows)


def _kept(best: dict[str, Any] | None, metric: Metric) -> Cell:
    if not best:
        return Cell(MISSING)
    return Cell(metric.number((best.get("test") or {}).get(metric.key)), f"round {best['round'] + 1}")


def settings_table(caption: str, settings: dict[str, Any]) -> Table | None:
    """Names and values of a nested dictionary, with dotted names; None where it is empty."""
    rows = tuple((name, (Cell(value, prose=True),)) for name, value in flatten(settings))
    return Table(caption, ("Name", "Value"), rows, "prose") if rows else None


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Dotted names and values, as people read them, of nested settings."""
    if isinstance(value, dict) and value:
        pairs = [flatten(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items()]
        return [pair for part in pairs for pair in part]
    if isinstance(value, list):
        value = ", ".join(str(item) for item in value)
    words = {None: "not set", True: "yes", False: "no", "": "not set"}
    return [(prefix, words[value] if isinstance(value, bool | None) or value == "" else str(value))] if prefix else []


def describe_run(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Network and loss that a run had, for people; empty where its settings do not say."""
    settings = dict(flatten(entry["settings"]))
    loss = settings.get(LOSS, "")
    return settings.get(NETWORK, "").rpartition(".")[2], "default" if loss == "not set" else loss
