# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""One picture to look at: a row for each scan."""

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flare_mri.report.images import ERROR_MAP, PREDICTION_COLOUR, error_limit, error_percent

MOST_ROWS = 12
_SIZE = 2.4  # inches of a panel
_LONGEST = 30  # characters that fit beside one

Pictures = Mapping[str, np.ndarray]


def overview(scans: Mapping[str, Pictures], outlined: bool) -> bytes:
    """Draws up to :data:`MOST_ROWS` scans, evenly chosen, one slice of each.

    Args:
        scans: by name, `input` and `output` and, where it is known, `target`, each [H, W].
        outlined: `output` is a label to outline on `input`, not an image.

    Returns:
        PNG bytes.
    """
    names = list(scans)
    places = np.unique(np.linspace(0, len(names) - 1, min(MOST_ROWS, len(names))).round().astype(int))
    chosen = {names[place]: scans[names[place]] for place in places}
    errors = [error_percent(p["output"], p["target"]) for p in chosen.values() if "target" in p]
    limit = error_limit(errors)
    titles = ["image", "marked organ"] if outlined else ["zero-filled", "reconstruction"]
    titles += ["fully sampled", f"error, 0 to {limit:g} %"] if errors else []
    figure = Figure(figsize=(_SIZE * len(titles), _SIZE * len(chosen)), dpi=110, layout="constrained")
    grid = figure.subplots(len(chosen), len(titles), squeeze=False)
    for axes, (name, pictures) in zip(grid, chosen.items(), strict=True):
        (_outline if outlined else _images)(list(axes), pictures, limit)
        axes[0].set_ylabel(name[-_LONGEST:], fontsize=8)
    for axis, title in zip(grid[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    for axis in grid.flat:
        axis.set(xticks=[], yticks=[])
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def _outline(axes: list[Axes], pictures: Pictures, _: float) -> None:
    image, label = pictures["input"], pictures["output"]
    low, high = np.percentile(image, (0.5, 99.5))
    for axis in axes:
        axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-12))
    if label.any():
        # a frame of background closes the outline of an organ that touches the image's border
        rows, columns = (np.arange(-1, size + 1) for size in label.shape)
        axes[1].contour(columns, rows, np.pad(label.astype(float), 1), levels=[0.5], colors=PREDICTION_COLOUR)
        axes[1].set(xlim=axes[0].get_xlim(), ylim=axes[0].get_ylim())
    else:
        axes[1].set_xlabel("nothing marked", fontsize=8)


def _images(axes: list[Axes], pictures: Pictures, limit: float) -> None:
    brightest = float(np.percentile(pictures.get("target", pictures["output"]), 99.8))
    for axis, key in zip(axes, ("input", "output", "target"), strict=False):
        if key in pictures:
            axis.imshow(pictures[key], cmap="gray", vmin=0, vmax=max(brightest, 1e-12))
    if "target" in pictures:
        axes[3].imshow(error_percent(pictures["output"], pictures["target"]), cmap=ERROR_MAP, vmin=0, vmax=limit)
