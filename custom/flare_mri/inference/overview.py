# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""One picture to look at, with a slice of each scan."""

import io
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flare_mri.inference.results_folder import MOST_SCANS
from flare_mri.report.images import ERROR_MAP, error_limit, error_percent, number_organ

_COLUMNS = 4
_SIZE = 2.4  # inches of a panel
_DPI, _NARROWEST = 110, 600  # pixels of an inch, and of the whole picture at least
_LONGEST = 30  # characters that fit beside one

Pictures = Mapping[str, np.ndarray]


def overview(
    scans: Mapping[str, Pictures],
    colours: Mapping[str, str] | None = None,
    captions: Mapping[str, str] | None = None,
    titles: Mapping[str, tuple[str, str]] | None = None,
) -> bytes:
    """Draws up to :data:`MOST_SCANS` scans, evenly chosen, one slice of each.

    Args:
        scans: by name, `input` and `output` and, where it is known, `target`, each [H, W].
        colours: by the names of the classes 1, 2, ... of labels, where `output` is one to outline on `input`; empty: an
            image.
        captions: by name, what stands below an outlined scan.
        titles: by name, what takes its place, empty for none, and which slice is shown.

    Returns:
        PNG bytes.
    """
    names = list(scans)
    places = np.unique(np.linspace(0, len(names) - 1, min(MOST_SCANS, len(names))).round().astype(int))
    chosen = {names[place]: scans[names[place]] for place in places}
    headings = {name: _heading(*(titles or {}).get(name, ("", "")), name) for name in chosen}
    figure = _outlines(chosen, colours, captions or {}, headings) if colours else _images(chosen, headings)
    for axes in figure.axes:
        axes.set(xticks=[], yticks=[])
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def _heading(title: str, shown: str, name: str) -> str:
    """Two lines of the title, from its beginning, or of the name, to its end, and one of the slice."""
    words = title[: 2 * _LONGEST] or name[-2 * _LONGEST :]
    return "\n".join([*textwrap.wrap(words, _LONGEST)[:2], *([shown] if shown else [])])


def _panels(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    size = max(_SIZE, _NARROWEST / _DPI / columns)
    figure = Figure(figsize=(size * columns, size * rows), dpi=_DPI, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _outlines(
    scans: Mapping[str, Pictures],
    colours: Mapping[str, str],
    captions: Mapping[str, str],
    headings: Mapping[str, str],
) -> Figure:
    """A panel for each scan: the slice with most of the organs, and outlines; several have colours and numbers."""
    columns = min(_COLUMNS, len(scans))
    figure, grid = _panels(-(-len(scans) // columns), columns)
    for axes in grid.flat[len(scans) :]:
        axes.remove()
    for axes, (name, pictures) in zip(grid.flat, scans.items(), strict=False):
        axes.set_xlabel(captions.get(name, ""), fontsize=8)
        _outline(axes, pictures, list(colours.values()))
        axes.set_title(headings[name], fontsize=8)
    if len(colours) > 1:
        named = enumerate(colours.items(), 1)
        handles = [Line2D([], [], color=colour, label=f"{number} {name}") for number, (name, colour) in named]
        figure.legend(handles=handles, loc="outside lower center", ncols=_COLUMNS, fontsize=8)
    return figure


def _outline(axes: Axes, pictures: Pictures, colours: Sequence[str]) -> None:
    image, label = pictures["input"], pictures["output"]
    low, high = np.percentile(image, (0.5, 99.5))
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-12))
    if not label.any():
        axes.set_xlabel("nothing marked", fontsize=8)
        return
    limits = {"xlim": axes.get_xlim(), "ylim": axes.get_ylim()}
    # a frame of background closes the outline of an organ that touches the image's border
    rows, columns = (np.arange(-1, size + 1) for size in label.shape)
    for organ, colour in enumerate(colours, 1):
        if (label == organ).any():
            axes.contour(columns, rows, np.pad((label == organ).astype(float), 1), levels=[0.5], colors=colour)
            if len(colours) > 1:
                number_organ(axes, label == organ, organ, colour, 9)
    axes.set(**limits)


def _images(scans: Mapping[str, Pictures], headings: Mapping[str, str]) -> Figure:
    """A row for each scan: input, output and, where the target is known, target and error on one common scale."""
    errors = {name: error_percent(p["output"], p["target"]) for name, p in scans.items() if "target" in p}
    limit = error_limit(list(errors.values()))
    titles = ["zero-filled", "reconstruction"] + (["fully sampled", f"error, 0 to {limit:g} %"] if errors else [])
    figure, grid = _panels(len(scans), len(titles))
    for axes, (name, pictures) in zip(grid, scans.items(), strict=True):
        for axis in axes[2 if "target" not in pictures else len(titles) :]:
            axis.set_axis_off()  # a scan without a target among others with one
        brightest = max(float(np.percentile(pictures.get("target", pictures["output"]), 99.8)), 1e-12)
        for axis, key in zip(axes, (key for key in ("input", "output", "target") if key in pictures), strict=False):
            axis.imshow(pictures[key], cmap="gray", vmin=0, vmax=brightest)
        if name in errors:
            axes[3].imshow(errors[name], cmap=ERROR_MAP, vmin=0, vmax=limit)
        axes[0].set_ylabel(headings[name], fontsize=8)
    for axis, title in zip(grid[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    return figure
