# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The sections of the report, each from results to HTML."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from flare_mri.errors import InputError
from flare_mri.metrics.metric_table import MISSING, Metric, format_seconds
from flare_mri.report import figures
from flare_mri.report.elements import Cell, chart, details, legend, paragraph, section, table
from flare_mri.report.scores import BASELINE, Scores, collect, comparison_notes, curve_split, round_curve, rows_of
from flare_mri.report.summary import summary_sentences


def summary(results: dict[str, Any], scores: Scores) -> str:
    """What came out, in words and in a few large numbers."""
    groups, tiles, leads, others = scores.groups(), [], [], []
    for group in groups:
        places = ", ".join(group.sites) if len(group.sites) < 3 else f"{len(group.sites)} sites"
        where = "" if len(groups) == 1 else f" at {places}"
        first, *more = summary_sentences(group, len(groups) > 1)
        leads.append(first)
        others += [sentence for sentence in more if sentence not in others]
        if ranking := group.ranking():
            mean = group.mean(ranking[0])
            tiles.append((f"Best mean {group.metric.name}{where}: {ranking[0]}", group.metric.quantity(mean)))
            if BASELINE in group.comparable():
                tiles.append(("Against zero-filled", group.metric.difference(mean, group.mean(BASELINE))))
    tiles.append(("Sites", str(len(scores.sites))))
    tiles.append(("Methods compared", " and ".join(str(len(group.methods)) for group in groups)))
    jobs = {(method["job"], method["seconds"]) for method in results["methods"].values()}  # one job may hold several
    tiles.append(("Computing time in all", format_seconds(sum(seconds for _, seconds in jobs))))
    tiles_html = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in tiles)
    notes = "".join(paragraph(note, "note") for note in comparison_notes(results))
    caution = "Scores are of test data, which took no part in training. "
    if len(results["methods"]) > 1:
        caution += "Each method was run once: small differences between methods may be chance. "
    caution += "Research software, not for diagnosis."
    words = "".join(paragraph(lead, "lead") for lead in leads) + paragraph(" ".join(others))
    tiles_html = f'<dl class="tiles">{tiles_html}</dl>'
    return section("summary", "In short", words + tiles_html + notes + paragraph(caution, "small muted"))


def overview(scores: Scores) -> str:
    """Methods by sites for the main metric, a table for each group of methods that have sites in common."""
    return section("scores", "All sites", "".join(_overview(group) for group in scores.groups()))


def _overview(scores: Scores) -> str:
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
            cells.append(Cell(metric.number(value), below.replace(MISSING, ""), method in scores.best(site)))
        rows.append((method, cells))
    caption = f"{metric.heading} on the test data at {', '.join(scores.sites)}, {metric.direction}"
    caption += "; small print: difference to zero-filled" if with_input else ""
    return table(caption, ("Method", *(site or "Mean of sites" for site in columns)), rows)


def site_table(results: dict[str, Any], metrics: list[Metric], site: str) -> str:
    """All metrics of one site, the best of each marked, with the difference of the main one to zero-filled."""
    every = [collect(results, metric) for metric in metrics]
    main = every[0]
    baseline = main.get(BASELINE, site)
    header = ["Method", main.metric.heading]
    if baseline is not None:
        header.append(f"To zero-filled ({main.metric.unit})" if main.metric.unit else "To zero-filled")
    header += [scores.metric.heading for scores in every[1:]]
    chosen = any("best" in m["sites"].get(site, {}) for m in results["methods"].values())
    header += [f"Kept model: {main.metric.heading}"] if chosen else []
    names, rows = rows_of(results), []
    for method in main.values:
        name, personal = names.get(method, ("", True))
        if main.get(method, site) is None and site not in results["methods"].get(name, {}).get("sites", {}):
            continue
        entry = {} if personal else results["methods"][name]["sites"][site]
        cells = [Cell(s.metric.number(s.get(method, site)), best=method in s.best(site)) for s in every]
        if baseline is not None:
            difference = main.metric.difference(main.get(method, site), baseline) if method != BASELINE else MISSING
            cells.insert(1, Cell(difference.removesuffix(f" {main.metric.unit}")))
        if chosen:
            cells.append(_kept(entry.get("best"), main.metric))
        rows.append((method, cells))
    directions = "; ".join(f"{metric.name}: {metric.direction}" for metric in metrics)
    kept = " Kept model: the round that was best on validation." if chosen else ""
    return table(f"{site}, final models on the test data. {directions}.{kept}", header, rows)


def _kept(best: dict[str, Any] | None, metric: Metric) -> Cell:
    if not best:
        return Cell(MISSING)
    return Cell(metric.number((best.get("test") or {}).get(metric.key)), f"round {best['round'] + 1}")


def site_notes(results: dict[str, Any], site: str) -> str:
    """What the runs say about a site in words, and its entropy before and after adaptation."""
    lines = []
    for method, content in results["methods"].items():
        entry = content["sites"].get(site, {})
        if entry.get("note"):
            lines.append(paragraph(f"{method}: {entry['note']}", "note"))
        if entropy := entry.get("entropy"):
            moved = entry.get("movement")
            words = "" if moved is None else f"; the adaptation moved a routing weight by {moved:.3f} on average"
            lines.append(
                paragraph(
                    f"{method}: mean prediction entropy {entropy['before']:.3f} before adaptation, "
                    f"{entropy['after']:.3f} after (0 is certain, 1 is undecided){words}."
                )
            )
    return "".join(lines)


def curves(results: dict[str, Any], scores: Scores, styles: dict[str, figures.Style]) -> str:
    """Score by round, one chart for the mean and one a site; empty where no round has scores."""
    metric, split, charts, drawn = scores.metric, curve_split(results), [], set()
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
        charts.append(chart(figures.curve_chart(found, styles, metric.heading, baseline), label, heading))
    if not charts:
        return ""
    words = f"{metric.name} on the {split} slices after every round ({metric.direction})."
    key = legend({name: look for name, look in styles.items() if name in drawn}, lines=True)
    body = paragraph(words) + key + f'<div class="charts">{"".join(charts)}</div>'
    return section("curves", "How training went", body)


def embeddings(
    features: dict[str, dict[str, np.ndarray]], seeds: dict[str, int], styles: dict[str, figures.Style]
) -> str:
    """t-SNE by method; where it cannot be made, the reason stands instead.

    Args:
        features: method -> site -> [M, C].
        seeds: method -> seed of its t-SNE.
        styles: site -> style.
    """
    charts, shown = [], {site for by_site in features.values() for site in by_site}
    for method, by_site in features.items():
        if len(by_site) < 2:  # a hospital that holds its own store only has nothing to compare
            continue
        try:
            points = figures.embed(by_site, seeds[method])
        except InputError as error:
            charts.append(f"<figure><h3>{escape(method)}</h3>{paragraph(f'No map: {error}.', 'note')}</figure>")
            continue
        label = f"t-SNE map of bottleneck features of {method}, {sum(map(len, points.values()))} slices by site"
        charts.append(chart(figures.embedding_chart(points, styles), label, method))
    if not charts:
        return ""
    words = (
        "Every mark is one test slice as the network's bottleneck (its innermost layer) describes it; t-SNE puts "
        "slices with similar descriptions side by side. Where the sites mix, the network sees past the differences "
        "between scanners; where they form islands, it does not. Sites that train alone have networks of their own "
        "and always form islands. Distances have no unit."
    )
    key = legend({site: look for site, look in styles.items() if site in shown}, lines=False)
    return section(
        "features", "How alike the sites look to the network", paragraph(words) + key
        + f'<div class="charts">{"".join(charts)}</div>',
    )  # fmt: skip


def routing(results: dict[str, Any]) -> str:
    """Heat maps of routing weights, one a method and site; empty where no site was routed."""
    maps = []
    for method, content in results["methods"].items():
        for site, entry in content["sites"].items():
            if not (found := entry.get("routing")):
                continue
            weights = np.asarray(found["weights"], dtype=float)
            layers, experts = [str(n) for n in found["layers"]], [str(n) for n in found["experts"]]
            means = ", ".join(f"{name} {mean:.2f}" for name, mean in zip(experts, weights.mean(axis=0), strict=True))
            label = f"Routing weights of {method} at {site}, mean over {len(layers)} layers: {means}"
            body = chart(figures.routing_chart(weights, layers, experts), label, f"{method}, {site}", "map")
            rows = [(n, [Cell(f"{w:.3f}") for w in row]) for n, row in zip(layers, weights, strict=True)]
            maps.append(body + details("As a table", table(label, ("Layer", *experts), rows, kind="")))
    if not maps:
        return ""
    words = (
        "How much each expert (the personalised model of a training site, or the global model) counts in each layer "
        "of the model that was made for the site, as a mean over its slices. Weights need not add up to 1."
    )
    return section("routing", "Which hospitals' models were used", paragraph(words) + "".join(maps))


def glossary(metrics: list[Metric], with_input: bool, with_personal: bool) -> str:
    """What the words mean."""
    terms = [(metric.heading, metric.meaning[0].upper() + metric.meaning[1:]) for metric in metrics]
    if with_input:
        terms.append((
            "Zero-filled",
            "The image one gets from the shortened (undersampled) scan without any network: unmeasured data are "
            "taken as zero. It is what every method has to improve on.",
        ))  # fmt: skip
    if with_personal:
        terms.append((
            "Personal",
            "A method with two rows leaves two models: under its bare name the one global model of all sites (for "
            "IOP-FL it is FedAvg's), and with the word personal the one that each site keeps for itself.",
        ))  # fmt: skip
    terms.append(("Round", "Every site trains for a while on its own data, then the server averages what is shared."))
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in terms)
    return section("terms", "How to read the numbers", f'<dl class="terms">{body}</dl>')
