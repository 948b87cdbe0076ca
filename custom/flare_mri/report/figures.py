# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG bytes, whose text and axes take the page's colour.

Figures are built without pyplot, so that no display, global backend or figure list is involved.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flare_mri.errors import InputError
from flare_mri.report.images import ERROR_MAP
from flare_mri.report.scores import Curve

LIGHT_CARD, DARK_CARD = "#ffffff", "#182027"
"""Backgrounds of charts, in the light and the dark page."""
INK = "#010203"
"""Colour of axes and text, which becomes currentColor in the page: no matplotlib colour can say that."""
MIN_POINTS = 10


@dataclass(frozen=True)
class Style:
    """Look of one method or site in drawings: told apart by colour, dash and marker, never by colour alone."""

    colour: str
    dash: str
    marker: str


# Every colour has a contrast of at least 3 : 1 on the light and on the dark page.
COLOURS = ("#2b7bd4", "#cf6412", "#1b8f57", "#c2489c", "#7f63d6", "#0f8b9d", "#d34a4a", "#7a828b")
_DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_DASH_ARRAYS = ("", "10 4", "3 3", "12 4 3 4")
_MARKERS = "os^Dv*PX"


def style(index: int) -> Style:
    """The style of the ``index``-th method or site; unlike for the first 16 at least."""
    return Style(
        COLOURS[index % len(COLOURS)],
        _DASH_ARRAYS[(index + index // len(COLOURS)) % len(_DASH_ARRAYS)],
        _MARKERS[(index + 3 * (index // len(COLOURS))) % len(_MARKERS)],
    )


def inked(size: float) -> AbstractContextManager[None]:
    """Axes and letters in the page's ink, the latter of ``size`` points."""
    parts = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    settings: Any = {**dict.fromkeys(parts, INK), "font.size": size}
    return matplotlib.rc_context(settings)


def make_axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def write_svg(figure: Figure) -> bytes:
    """Writes with real text (small, searchable) and repeatable ids."""
    target = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "flare-mri", "font.family": "sans-serif"}):
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    return target.getvalue()


def curve_chart(curves: dict[str, Curve], styles: dict[str, Style], label: str, baseline: float | None) -> bytes:
    """Score by round, one line a method.

    Args:
        curves: method -> (rounds, values).
        styles: method -> style.
        label: Name of the vertical axis, with unit.
        baseline: Score of the zero-filled input, drawn as a level line, or None.

    Returns:
        SVG bytes.
    """
    with inked(11):
        figure, axes = make_axes(4.4, 3.0)
        for name, (rounds, values) in curves.items():
            look = styles[name]
            dash = _DASHES[_DASH_ARRAYS.index(look.dash)]
            every = max(1, math.ceil(len(rounds) / 8))
            marks: Any = {"marker": look.marker, "markersize": 4.5, "markevery": every}
            axes.plot([r + 1 for r in rounds], values, color=look.colour, linestyle=dash, linewidth=2, **marks)
        if baseline is not None:
            axes.axhline(baseline, color=INK, linewidth=1, alpha=0.55)
            axes.annotate("zero-filled", (1, baseline), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                          xytext=(0, 2), textcoords="offset points", fontsize=9.5)  # fmt: skip
        axes.grid(color=INK, alpha=0.12, linewidth=0.8)
        axes.set(xlabel="Round", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        first, last = min(rounds[0] for rounds, _ in curves.values()), max(rounds[-1] for rounds, _ in curves.values())
        margin = max(0.04 * (last - first), 0.2)
        axes.set_xlim(first + 1 - margin, last + 1 + margin)
        return write_svg(figure)


def embed(features: dict[str, np.ndarray], seed: int = 0, limit: int = 200) -> dict[str, np.ndarray]:
    """t-SNE of bottleneck features, all sites in one map.

    Args:
        features: site -> [M, C].
        seed: For t-SNE; the same features and seed give the same map.
        limit: Most slices of a site that take part, evenly chosen, so that the map takes seconds.

    Returns:
        site -> [M', 2], no unit.

    Raises:
        InputError: Sites with different C, too few slices, or features that are all alike.
    """
    from sklearn.manifold import TSNE

    widths = {site: array.shape[1] for site, array in features.items()}
    if len(set(widths.values())) > 1:
        shown = ", ".join(f"{site} {width}" for site, width in widths.items())
        raise InputError(f"features: expected one number of channels, got {shown}; use one network at all sites")
    chosen = {s: a[np.unique(np.linspace(0, len(a) - 1, min(len(a), limit)).astype(int))] for s, a in features.items()}
    points = np.concatenate(list(chosen.values())).astype(np.float64)
    if len(points) < MIN_POINTS:
        raise InputError(f"features: expected at least {MIN_POINTS} slices, got {len(points)}; store more slices")
    spread = points.std(axis=0)
    varying = spread > 1e-8 * np.abs(points).max(initial=1e-300)
    if varying.sum() < 2:
        raise InputError("features: expected slices that differ, got all alike; check that the network has trained")
    scaled = (points[:, varying] - points[:, varying].mean(axis=0)) / spread[varying]
    perplexity = min(30.0, (len(points) - 1) / 3)
    placed = TSNE(init="pca", learning_rate="auto", perplexity=perplexity, random_state=seed).fit_transform(scaled)
    ends = np.cumsum([len(array) for array in chosen.values()])[:-1]
    return dict(zip(chosen, np.split(placed, ends), strict=True))


def embedding_chart(points: dict[str, np.ndarray], styles: dict[str, Style]) -> bytes:
    """Scatter of t-SNE points, coloured and marked by site.

    Args:
        points: site -> [M, 2].
        styles: site -> style.

    Returns:
        SVG bytes.
    """
    with inked(11):
        figure, axes = make_axes(4.4, 3.7)
        for site, placed in points.items():
            look = styles[site]
            axes.scatter(
                placed[:, 0], placed[:, 1], s=26, color=look.colour, marker=look.marker, alpha=0.8, linewidths=0
            )
        axes.set(xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)")
        axes.margins(0.06)
        return write_svg(figure)


def heat_map(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    ends: tuple[float, float] = (0.0, 1.0),
    digits: int = 2,
) -> bytes:
    """Heat map with a number in each cell.

    Args:
        values: [R, C]; NaN where there is none.
        rows: R names, the first on top.
        columns: C names.
        label: of the colours.
        ends: values of the darkest and of the brightest colour.
        digits: after the point.

    Returns:
        SVG bytes.
    """
    with inked(10):
        longest = max(map(len, rows))
        figure, axes = make_axes(1.2 + 0.075 * longest + 0.62 * len(columns), 1.6 + 0.27 * len(rows))
        shown = axes.imshow(values, cmap="viridis", vmin=ends[0], vmax=ends[1], aspect="auto", interpolation="nearest")
        for (row, column), value in np.ndenumerate(values):
            if np.isnan(value):
                continue
            ink = "#ffffff" if value < ends[0] + 0.6 * (ends[1] - ends[0]) else "#000000"
            axes.text(column, row, f"{value:.{digits}f}", ha="center", va="center", color=ink, fontsize=9)
        axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), rows)
        axes.spines[:].set_visible(False)
        figure.colorbar(shown, ax=axes, orientation="horizontal", label=label, aspect=30, shrink=0.9)
        return write_svg(figure)


def colour_bar(limit: float) -> bytes:
    """The scale of all error maps.

    Args:
        limit: Upper end in % of the brightest target value of a slice.

    Returns:
        SVG bytes.
    """
    with inked(11):
        figure, axes = make_axes(4.4, 0.8)
        axes.imshow(np.linspace(0, 1, 256)[None], cmap=ERROR_MAP, extent=(0, limit, 0, 1), aspect="auto")
        axes.set(yticks=[], xlabel="Absolute error (% of the slice's brightest value)")
        axes.set_xticks(ticks := [0, limit / 2, limit], [f"{tick:g}" for tick in ticks[:-1]] + [f"≥ {limit:g}"])
        axes.spines[:].set_visible(False)
        return write_svg(figure)


def inline_svg(svg: bytes, label: str) -> Markup:
    """A chart as part of the page.

    Drops what only a file of its own needs (prolog, name spaces, metadata, size, family of letters, a style sheet
    that would hold for the whole page) and makes ids its own, since two charts may share them.

    Args:
        svg: As a function of this module makes it.
        label: The chart in words, for those who do not see it; unlike any other chart's of the page.
    """
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    opening, rest = text.split(">", 1)
    opening = re.sub(r'\s+(xmlns(:\w+)?|version|width|height)="[^"]*"', "", opening)
    opening = opening.replace("<svg", f'<svg role="img" aria-label="{escape(label)}" stroke-linejoin="round"', 1)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', rest))
    rest = re.sub(r'\s+id="([^"]*)"', lambda m: m.group(0) if m.group(1) in used else "", rest)
    own = hashlib.sha256(label.encode()).hexdigest()[:8]
    rest = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{own}-", rest)
    # matplotlib 3.9 writes the short form, later ones the long
    rest = re.sub(r"(font: [^;\"]*?px )[^;\"]*", r"\1system-ui, sans-serif", rest)
    rest = re.sub(r"font-family: [^;\"]*", "font-family: inherit", rest)
    return Markup(f"{opening}>{rest}".replace(INK, "currentColor").strip())
