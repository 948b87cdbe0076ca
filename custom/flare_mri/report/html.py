# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""One self-contained report.html: no script, no outside request, light and dark, for a screen of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from flare_mri.atomic_file import write_atomically
from flare_mri.config.results import BASELINE, validate_results
from flare_mri.errors import InputError
from flare_mri.metrics.metric_table import Metric, metrics_in
from flare_mri.report import colours, figures, sections
from flare_mri.report.examples import Examples, has_row, load_examples
from flare_mri.report.numbers import downloads, score_rows
from flare_mri.report.panels import common_error_limit
from flare_mri.report.scores import Spread, collect, leading_metrics, metrics_of, rows_of
from flare_mri.report.tables import Table, overview, privacy_table
from flare_mri.report.volume_scores import Volumes

TEMPLATES = Environment(
    loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def write_report(
    results: dict[str, Any],
    site_stores: dict[str, dict[str, Path]],
    out: str | Path,
    examples: int = 2,
    volumes: Mapping[str, Mapping[str, Volumes]] | None = None,
    compared: Compared | None = None,
) -> Path:
    """Writes the report.

    Args:
        results: Checked, maybe merged results.
        site_stores: method, or classical reconstruction -> site -> path of examples.npz. Sites whose store is not at
            hand are left out, as a hospital holds its own only; then the page shows their numbers without images.
        out: The file to write, atomically, for its owner alone (mode 0600); missing folders are made.
        examples: Most test slices a site that are shown.
        volumes: row of the tables -> site -> scores of test volumes, from the stores at hand, see
            :func:`flare_mri.report.volume_scores.find_volume_scores`.
        compared: What several seeds and a paired test say, where the results are those of a comparison.

    Returns:
        The path written.

    Raises:
        InputError: Results of another format or of two tasks, a store of a method or site that the results do
            not hold, or a broken examples.npz.
    """
    validate_results(results)
    if examples < 1:
        raise InputError(f"report: examples: expected at least 1 slice a site, got {examples}; give a larger number")
    metrics = metrics_of(results)
    _check_one_task(results)
    stores = _load(results, site_stores)
    scores = collect(results, metrics[0])
    task = metrics[0].task
    found = {
        site: {method: stores[method][site] for method in stores if site in stores[method]} for site in scores.sites
    }
    found = {site: by_method for site, by_method in found.items() if by_method}
    limit = common_error_limit(found, examples) if task == "reconstruction" and found else None
    page = TEMPLATES.get_template("page.html").render(
        task=task,
        methods=list(results["methods"]),
        metrics=metrics,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        light_card=figures.LIGHT_CARD,
        dark_card=figures.DARK_CARD,
        truth_colour=colours.TRUTH_COLOUR,
        prediction_colour=colours.PREDICTION_COLOUR,
        with_images=bool(found),
        organs=_organs(found),
        with_input=BASELINE in scores.values,
        with_personal=any(personal for _, personal in rows_of(results).values()),
        keeps_best=any(site.get("best") for m in results["methods"].values() for site in m["sites"].values()),
        error_scale=None if limit is None else _error_scale(limit),
        summary=sections.summary(results, scores),
        overview=[
            overview(group, compared.spread(metric) if compared else None)
            for metric in leading_metrics(results)
            for group in collect(results, metric).groups()
        ],
        privacy=privacy_table(results),
        compared=compared,
        downloads=downloads("scores", score_rows(results, volumes or {})),
        curves=sections.curves(results, scores),
        sites=sections.sites(results, metrics, found, volumes or {}, examples, limit),
        cross_site=sections.cross_site(results),
        routing=sections.routing(results),
        features=sections.embeddings(results, stores, scores.sites),
        runs=sections.runs(results),
    )
    write_atomically(Path(out), page, mode=0o600)
    return Path(out)


class Compared(NamedTuple):
    """What a page of several runs has besides: deviations over seeds, and the outcome of a paired test."""

    spread: Callable[[Metric], Spread]
    seeds: Table
    tests: list[Table]
    notes: list[str]


def _check_one_task(results: dict[str, Any]) -> None:
    tasks: dict[str, str] = {}
    for name, method in results["methods"].items():
        keys = [key for site in method["sites"].values() for key in site.get("test") or {}]
        for metric in metrics_in(keys):
            tasks.setdefault(metric.task, name)
    if len(tasks) > 1:
        found = ", ".join(f"{name} for {task}" for task, name in tasks.items())
        raise InputError(f"results: expected methods of one task, got {found}; make one report a task")


def _load(results: dict[str, Any], site_stores: dict[str, dict[str, Path]]) -> dict[str, dict[str, Examples]]:
    loaded: dict[str, dict[str, Examples]] = {}
    for method, by_site in site_stores.items():
        for site, path in by_site.items():
            if not has_row(results, method, site):
                raise InputError(
                    f"{path}: site {site} of method {method}: expected a site and method of the results, got neither; "
                    "give the results.json of the same run"
                )
            loaded.setdefault(method, {})[site] = load_examples(path)
    return loaded


def _organs(examples: dict[str, dict[str, Examples]]) -> dict[str, str]:
    """Name -> colour in the pictures, of several organs."""
    named = (found.organs for by_method in examples.values() for found in by_method.values())
    return colours.choose_colours(next((organs for organs in named if organs), {}))


def _error_scale(limit: float) -> sections.Chart:
    label = f"Colour scale of all error maps, from 0 (black) to {limit:g} % of the slice's brightest value (yellow)"
    return sections.Chart("", figures.inline_svg(figures.colour_bar(limit), label))
