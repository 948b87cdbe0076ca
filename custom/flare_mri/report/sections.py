# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data of the report's sections, for the templates of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from flare_mri.config.results import BASELINE, PERSONAL
from flare_mri.errors import InputError
from flare_mri.metrics.metric_table import MISSING, Metric, format_bytes, format_seconds, metrics_in
from flare_mri.report import figures
from flare_mri.report.comparable import comparison_notes, tell_phantoms
from flare_mri.report.examples import Examples
from flare_mri.report.panels import SiteExamples, site_cases, site_panels
from flare_mri.report.scores import Scores, collect, curve_split, method_of, round_curve, rows_of, tell_misses
from flare_mri.report.summary import summary_sentences
from flare_mri.report.tables import Table, describe_run, settings_table, site_table, spread_table, table_of
from flare_mri.report.volume_scores import Volumes


class Chart(NamedTuple):
    """A drawing with its name above; where it cannot be made, the reason in its place."""

    heading: str
    svg: Markup | None
    reason: str = ""


def summary(results: dict[str, Any], scores: Scores) -> dict[str, Any]:
    """The outcome, in words and in a few large numbers."""
    groups, tiles, leads, others = scores.groups(), [], [], []
    for group in groups:
        places = ", ".join(group.sites) if len(group.sites) < 3 else f"{len(group.sites)} sites"
        where = "" if len(groups) == 1 else f" at {places}"
        first, *more = summary_sentences(group, len(groups) > 1)
        leads.append(first)
        others += [sentence for sentence in more if sentence not in others]
        if (ranking := group.ranking()) and not group.unranked:
            mean, several = group.mean(ranking[0]), len(set(map(method_of, group.methods))) > 1
            name = f"{'Best mean' if several else 'Mean'} {group.metric.name}"
            tiles.append((f"{name}{where}: {ranking[0]}", group.metric.quantity(mean)))
            if BASELINE in group.comparable() and ranking[0] != BASELINE:
                tiles.append(("Against zero-filled", group.metric.difference(mean, group.mean(BASELINE))))
    tiles.append(("Sites", str(len(scores.sites))))
    counts = [str(len(set(map(method_of, group.methods)))) for group in groups]
    tiles.append(("Methods compared", " and ".join(counts)))
    jobs = {(method["job"], method["seconds"]) for method in results["methods"].values()}  # one job may hold several
    tiles.append(("Computing time in all", format_seconds(sum(seconds for _, seconds in jobs))))
    if told := tell_phantoms(results):
        leads.insert(0, f"{told}: simulated data, of no patient.")
    notes = [note for note in comparison_notes(results) if note not in leads] + tell_misses(results)
    return {"leads": leads, "others": others, "tiles": tiles, "notes": notes}


def curves(results: dict[str, Any], scores: Scores) -> dict[str, Any]:
    """Charts of the main metric by round, of the mean and of every site; none where no round was scored."""
    metric, split = scores.metric, curve_split(results)
    styles = {row: figures.style(index) for index, row in enumerate(rows_of(results))}
    charts, drawn = [], set()
    for site in [None, *scores.sites] if len(scores.sites) > 1 else scores.sites:
        found = {
            row: curve
            for row, (name, personal) in rows_of(results).items()
            if (curve := round_curve(results["methods"][name], metric, site, "personal_" * personal + split))[0]
        }
        if not found:
            continue
        drawn |= set(found)
        heading = "Mean of sites" if site is None else site
        baseline = scores.mean(BASELINE) if site is None else scores.get(BASELINE, site)
        baseline = baseline if split == "test" else None  # the input was scored on test slices only
        ends = "; ".join(f"{name} {metric.quantity(values[-1])}" for name, (_, values) in found.items())
        label = f"{metric.name} by round, {heading}. Last round: {ends}."
        svg = figures.curve_chart(found, styles, metric.heading, baseline)
        charts.append(Chart(heading, figures.inline_svg(svg, label)))
    return {"split": split, "charts": charts, "styles": {name: look for name, look in styles.items() if name in drawn}}


def sites(
    results: dict[str, Any],
    metrics: list[Metric],
    examples: dict[str, SiteExamples],
    volumes: Mapping[str, Mapping[str, Volumes]],
    count: int,
    limit: float | None,
) -> list[dict[str, Any]]:
    """Every site's name, scores by metric and their spread over volumes, entries by method, description of its data,
    each method's worst, median and best slice, and slices by all methods.

    Args:
        results: Checked results.
        metrics: Those that the results hold, the main one first.
        examples: site -> method -> examples, of the sites whose store is at hand.
        volumes: row of the tables -> site -> scores of test volumes, of the same sites.
        count: Most slices a site that are shown.
        limit: Upper end of the error scale in % for reconstruction; None for segmentation.
    """
    shown = []
    for site in collect(results, metrics[0]).sites:
        entries = {name: m["sites"][site] for name, m in results["methods"].items() if site in m["sites"]}
        data: dict[str, Any] = next((entry["data"] for entry in entries.values() if entry.get("data")), {})
        found = _row_names(entries, examples.get(site, {}))
        shown.append({
            "name": site,
            "entries": entries,
            "table": site_table(results, metrics, site),
            "data": settings_table("As the site describes it", data),
            "spread": spread_table(metrics, site, {row: of[site] for row, of in volumes.items() if site in of}),
            "cases": site_cases(site, found, limit),
            "slices": site_panels(site, found, count, limit) if found else [],
        })  # fmt: skip
    return shown


def _row_names(entries: dict[str, Any], found: dict[str, Examples]) -> dict[str, Examples]:
    """Examples under the name of the model that made them: a site that has a personal model keeps images of that."""
    return {m + PERSONAL if (entries.get(m, {}).get("personal") or {}).get("test") else m: e for m, e in found.items()}


def routing(results: dict[str, Any]) -> list[tuple[Chart, Table]]:
    """Heat maps of routing weights with their numbers, one a method and site that was routed."""
    maps = []
    for method, content in results["methods"].items():
        for site, entry in content["sites"].items():
            if not (found := entry.get("routing")):
                continue
            weights = np.asarray(found["weights"], dtype=float)
            layers, experts = [str(n) for n in found["layers"]], [str(n) for n in found["experts"]]
            means = ", ".join(f"{name} {mean:.2f}" for name, mean in zip(experts, weights.mean(axis=0), strict=True))
            label = f"Routing weights of {method} at {site}, mean over {len(layers)} layers: {means}"
            svg = figures.inline_svg(figures.heat_map(weights, layers, experts, "Routing weight (0 to 1)"), label)
            rows = [(name, [f"{weight:.3f}" for weight in row]) for name, row in zip(layers, weights, strict=True)]
            maps.append((Chart(f"{method}, {site}", svg), table_of(label, ("Layer", *experts), rows, kind="")))
    return maps


def cross_site(results: dict[str, Any]) -> list[tuple[Chart, list[Table]]]:
    """Heat maps of personal models at other sites by the main metric, with tables of all metrics, one a method."""
    maps = []
    for method, content in results["methods"].items():
        found = content.get("cross_site") or {}
        scores = found.get("scores", {})
        metrics = [m for m in metrics_in(scores) if any(value is not None for row in scores[m.key] for value in row)]
        if not metrics:
            continue
        models, sites = found["models"], found["sites"]
        tables = []
        for metric in metrics:
            values = zip(models, scores[metric.key], strict=True)
            rows = [(name, [metric.number(value) for value in row]) for name, row in values]
            caption = f"{metric.heading} of {method}: model by row, test data by column, {metric.direction}"
            tables.append(table_of(caption, ("Model of", *sites), rows, kind=""))
        main = metrics[0]
        matrix = np.array(scores[main.key], dtype=float)
        low, high = np.nanmin(matrix), np.nanmax(matrix)
        svg = figures.heat_map(matrix, models, sites, main.heading, (low, max(high, low + 1e-6)), main.digits)
        label = f"{main.heading} of each site's personal model of {method} at each site: {low:.3g} to {high:.3g}"
        maps.append((Chart(method, figures.inline_svg(svg, label)), tables))
    return maps


def embeddings(results: dict[str, Any], stores: dict[str, dict[str, Examples]], names: list[str]) -> dict[str, Any]:
    """A t-SNE map of bottleneck features by method; where it cannot be made, the reason stands instead.

    Args:
        results: Checked results.
        stores: method -> site -> examples.
        names: All sites.

    Returns:
        Charts, none where no method has features of two sites, and styles of the sites in them.
    """
    styles = {name: figures.style(index) for index, name in enumerate(names)}
    charts, drawn = [], set()
    for method, by_site in stores.items():
        if method not in results["methods"]:  # a classical reconstruction has no network
            continue
        features = {site: found.features for site, found in by_site.items() if found.features is not None}
        drawn |= set(features)
        if len(features) < 2:  # a hospital that holds its own store only has nothing to compare
            continue
        try:
            points = figures.embed(features, results["methods"][method]["seed"])
        except InputError as error:
            charts.append(Chart(method, None, f"No map: {error}."))
            continue
        label = f"t-SNE map of bottleneck features of {method}, {sum(map(len, points.values()))} slices by site"
        charts.append(Chart(method, figures.inline_svg(figures.embedding_chart(points, styles), label)))
    return {"charts": charts, "styles": {name: look for name, look in styles.items() if name in drawn}}


def runs(results: dict[str, Any]) -> dict[str, Any]:
    """Seeds, times, traffic, versions and settings: all that is needed to do it again."""
    rows = []
    described: dict[tuple[Table, ...], list[str]] = {}  # methods of one run, as of an outside site, say the same
    for name, method in results["methods"].items():
        rounds = method["rounds"]
        seconds = [r["seconds"] for r in rounds if r.get("seconds") is not None]
        cells = [value or MISSING for value in describe_run(method)]
        cells += [method["job"], _moment(method["created"]), str(method["seed"]), str(len(rounds) or MISSING)]
        cells += [format_seconds(method["seconds"]), format_seconds(_mean(seconds)) if seconds else MISSING]
        rows.append((name, [*cells, _traffic(rounds, "bytes_sent"), _traffic(rounds, "bytes_received")]))
        versions = settings_table("Versions", method.get("versions") or results["versions"])
        tables = settings_table("Settings", method["settings"]), versions, _rounds(rounds)
        described.setdefault(tuple(table for table in tables if table), []).append(name)
    header = (
        "Method",
        "Network",
        "Loss",
        "Job",
        "Created",
        "Seed",
        "Rounds",
        "Time in all",
        "Time a round",
        "Sent",
        "Received",
    )
    caption = "Runs. Sent and received: mean over rounds and sites, what one site sends and gets in one round"
    return {"table": table_of(caption, header, rows), "described": [(n, tables) for tables, n in described.items()]}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _moment(created: str) -> str:
    """An ISO time to the minute; anything else as it is."""
    try:
        return datetime.fromisoformat(created).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return created


def _traffic(rounds: list[dict[str, Any]], key: str) -> str:
    counts = [s[key] for r in rounds for s in r["sites"].values() if s.get(key) is not None]
    return format_bytes(_mean(counts)) if counts else MISSING


def _rounds(rounds: list[dict[str, Any]]) -> Table | None:
    rows = []
    for entry in rounds:
        losses = [s["train_loss"] for s in entry["sites"].values() if s.get("train_loss") is not None]
        seconds = MISSING if entry.get("seconds") is None else format_seconds(entry["seconds"])
        loss = f"{_mean(losses):.4g}" if losses else MISSING
        traffic = [_traffic([entry], key) for key in ("bytes_sent", "bytes_received")]
        rows.append((str(entry["round"] + 1), [seconds, loss, *traffic]))
    header = ("Round", "Time", "Training loss (mean of sites)", "Sent by a site", "Received by a site")
    return table_of("Rounds", header, rows, kind="") if rows else None
