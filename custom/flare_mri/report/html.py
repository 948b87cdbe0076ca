# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""One self-contained report.html: no script, no outside request, light and dark, for a screen of any size."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from flare_mri.config.results import PERSONAL, validate_results
from flare_mri.errors import InputError
from flare_mri.files import write_atomically
from flare_mri.metrics.metric_table import Metric, metrics_in
from flare_mri.report import figures, sections
from flare_mri.report.elements import chart, paragraph, section
from flare_mri.report.examples import Examples, load_examples
from flare_mri.report.images import PREDICTION_COLOUR, TRUTH_COLOUR
from flare_mri.report.panels import common_error_limit, site_panels
from flare_mri.report.runs import runs, site_data
from flare_mri.report.scores import BASELINE, collect, metrics_of, rows_of
from flare_mri.report.theme import page

_TITLES = {"reconstruction": "MR image reconstruction", "segmentation": "MR image segmentation"}


def write_report(
    results: dict[str, Any], site_stores: dict[str, dict[str, Path]], out: str | Path, examples: int = 2
) -> Path:
    """Writes the report.

    Args:
        results: Checked, maybe merged results.
        site_stores: method -> site -> path of examples.npz. Sites whose store is not at hand are left out, as
            a hospital holds its own only; then the page shows their numbers without images.
        out: The file to write, atomically; missing folders are made.
        examples: Most test slices a site that are shown.

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
    method_styles = {name: figures.style(index) for index, name in enumerate(rows_of(results))}
    site_styles = {name: figures.style(index) for index, name in enumerate(scores.sites)}
    features = {
        method: {site: found.features for site, found in by_site.items() if found.features is not None}
        for method, by_site in stores.items()
    }
    seeds = {name: method["seed"] for name, method in results["methods"].items()}
    parts = [
        ("summary", "In short", sections.summary(results, scores)),
        ("scores", "All sites", sections.overview(scores)),
        ("curves", "Training", sections.curves(results, scores, method_styles)),
        ("sites", "Site by site", _sites(results, metrics, stores, examples)),
        ("routing", "Routing", sections.routing(results)),
        ("features", "Features", sections.embeddings({m: f for m, f in features.items() if f}, seeds, site_styles)),
        ("runs", "Settings and cost", runs(results)),
        ("terms", "Reading the numbers", sections.glossary(metrics, BASELINE in scores.values, _has_personal(results))),
    ]
    links = "".join(f'<li><a href="#{anchor}">{name}</a></li>' for anchor, name, body in parts if body)
    title = f"{_TITLES[metrics[0].task]} at {len(scores.sites)} site{'s'[: len(scores.sites) > 1]}"
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    named = list(results["methods"])
    named = named if len(named) < 7 else [*named[:5], f"{len(named) - 5} more"]
    subtitle = f"flare-mri report of {', '.join(map(escape, named))}; made {made}"
    content, out = "\n".join(body for _, _, body in parts if body), Path(out)
    write_atomically(out, page(title, subtitle, links, content, _privacy(bool(stores))))
    return out


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
            if site not in results["methods"].get(method, {}).get("sites", {}):
                raise InputError(
                    f"{path}: site {site} of method {method}: expected a site and method of the results, got neither; "
                    "give the results.json of the same run"
                )
            loaded.setdefault(method, {})[site] = load_examples(path)
    return loaded


def _sites(results: dict[str, Any], metrics: list[Metric], stores: dict[str, dict[str, Examples]], count: int) -> str:
    """A section a site, with a scale for the error maps, or a key to the outlines, before them."""
    names = collect(results, metrics[0]).sites
    by_site = {
        site: {method: found[site] for method, found in stores.items() if site in found}
        for site in names
        if any(site in found for found in stores.values())
    }
    limit = common_error_limit(by_site, count) if metrics[0].task == "reconstruction" and by_site else None
    parts = [section("sites", "Site by site", _key(limit, bool(by_site), _keeps_best(results)))]
    for index, site in enumerate(names):
        body = sections.site_table(results, metrics, site) + sections.site_notes(results, site)
        body += site_data(results, site)
        if site in by_site:
            body += site_panels(site, _row_names(results, site, by_site[site]), count, limit)
        else:
            body += paragraph("No images here: they lie in this site's own store, which was not given.", "small muted")
        parts.append(section(f"site-{index}", site, body))
    return "\n".join(parts)


def _row_names(results: dict[str, Any], site: str, found: dict[str, Examples]) -> dict[str, Examples]:
    """Examples under the name of the model that made them: a site that has a personal model keeps images of that."""
    sites = {method: results["methods"][method]["sites"][site] for method in found}
    return {m + PERSONAL if (sites[m].get("personal") or {}).get("test") else m: e for m, e in found.items()}


def _has_personal(results: dict[str, Any]) -> bool:
    return any(personal for _, personal in rows_of(results).values())


def _keeps_best(results: dict[str, Any]) -> bool:
    return any(site.get("best") for method in results["methods"].values() for site in method["sites"].values())


def _key(limit: float | None, images: bool, keeps_best: bool) -> str:
    if not images:
        return paragraph("Tables for every site. No site store was given, so this page shows no images.")
    source = "Images are of the model that a site keeps: its personal one or else the best one on validation. "
    source = source if keeps_best else ""
    if limit is None:
        keys = "".join(
            f'<li><span class="swatch" style="color:{colour};border-top-style:{dash}"></span>{name}</li>'
            for colour, dash, name in (
                (TRUTH_COLOUR, "solid", "expert (solid yellow)"),
                (PREDICTION_COLOUR, "dashed", "network (dashed blue)"),
            )
        )
        words = "Outlines over the framed part of a test slice. Where both lie on each other, they agree."
        return paragraph(source + words) + (f'<ul class="legend">{keys}</ul>')
    words = source + (
        "Test slices from the undersampled input (zero-filled) to the fully sampled target. Under each image lies its "
        "error map, the absolute difference to the target. Dark is good. All error maps on this page share one scale:"
    )
    label = f"Colour scale of all error maps, from 0 (black) to {limit:g} % of the slice's brightest value (yellow)"
    return paragraph(words) + chart(figures.colour_bar(limit), label, kind="bar")


def _privacy(images: bool) -> str:
    text = (
        "Privacy: during training, sites exchanged model weights and average scores only. "
        + (
            "The images and feature maps on this page come from the local site stores on the computer where it was "
            "made; they were not sent. They are part of this file now: whoever passes it on passes them on."
            if images
            else "This page holds no images and no data of single patients."
        )
    )  # fmt: skip
    return paragraph(text)
