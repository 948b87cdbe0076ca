# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Image panels as PNG bytes: grey images, error maps on one scale, and outlines over a slice."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from flare_mri.report.colours import PREDICTION_COLOUR, TRUTH_COLOUR, choose_colours

ERROR_MAP = "inferno"
_BORDERS = ((0.04, 0.5), (0.96, 0.5), (0.5, 0.96), (0.5, 0.04))  # left, right, upper, lower


def image_panel(image: np.ndarray, brightest: float) -> bytes:
    """A grey PNG of [H, W]; 0 is black, ``brightest`` and above white."""
    scaled = np.clip(image / max(brightest, 1e-12), 0, 1)
    return _png(Image.fromarray((scaled * 255 + 0.5).astype(np.uint8)))


def framed(image: np.ndarray, window: tuple[slice, slice], brightest: float) -> np.ndarray:
    """A copy of ``image`` [H, W] with a bright frame, one pixel wide, around ``window`` unless that is all of it."""
    (top, bottom, _), (left, right, _) = (s.indices(n) for s, n in zip(window, image.shape, strict=True))
    copy = image.copy()
    if (bottom - top, right - left) != image.shape:
        copy[[top, bottom - 1], left:right] = brightest
        copy[top:bottom, [left, right - 1]] = brightest
    return copy


def error_panel(error: np.ndarray, limit: float) -> bytes:
    """A PNG of absolute errors [H, W] in %, on the scale that ``figures.colour_bar`` shows for the same ``limit``."""
    picture = Image.fromarray((np.clip(np.abs(error) / limit, 0, 1) * 255 + 0.5).astype(np.uint8), mode="P")
    colours = matplotlib.colormaps[ERROR_MAP](np.arange(256))[:, :3]
    picture.putpalette((colours * 255 + 0.5).astype(np.uint8).tobytes())
    return _png(picture)


def _png(picture: Image.Image) -> bytes:
    target = io.BytesIO()
    picture.save(target, format="PNG", optimize=True)
    return target.getvalue()


def number_organ(axes: Axes, inside: np.ndarray, number: int, colour: str, size: float) -> None:
    """Writes an organ's number beside its outline, for those who do not tell colours apart.

    It stands where there is more room: on the side that looks to the middle of the slice.

    Args:
        axes: That show the slice, a unit a pixel.
        inside: [H, W] bool, true within the outline somewhere.
        number: Of the organ.
        colour: Of its outline.
        size: Of the letters in points.
    """
    places = np.argwhere(inside)
    on_the_left = places[:, 1].mean() < inside.shape[1] / 2
    row, column = places[places[:, 1].argmax() if on_the_left else places[:, 1].argmin()]
    look: Any = {"color": colour, "size": size, "weight": "bold", "va": "center"}
    rim = [patheffects.withStroke(linewidth=size / 8, foreground="black")]
    axes.annotate(str(number), (column, row), ((1 if on_the_left else -1) * size / 3, 0), textcoords="offset points",
                  ha="left" if on_the_left else "right", path_effects=rim, **look)  # fmt: skip


def overlay_panel(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray | None,
    organs: Mapping[str, str] | None = None,
    width: int = 480,
    edges: str = "",
) -> bytes:
    """The slice in grey with the outlines of every label: truth solid, prediction dashed.

    One organ is yellow in the truth and blue in the prediction; of several each has its own colour and its number in
    both.

    Args:
        image: [H, W], any range.
        truth: [H, W] whole labels, 0 is background.
        prediction: The same, or None for the truth alone.
        organs: Name -> colour of labels 1, 2, ... where there are several.
        width: Of the picture in pixels.
        edges: A letter each for the left, right, upper and lower border; empty for none.

    Returns:
        PNG bytes.
    """
    rows, columns = image.shape
    figure = Figure(figsize=(width / 100, width * rows / columns / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    low, high = np.percentile(image, (0.5, 99.5))
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-12), interpolation="bicubic", aspect="auto")
    chosen = list(choose_colours(organs or {}).values())
    for labels, colour, dash in ((truth, TRUTH_COLOUR, "solid"), (prediction, PREDICTION_COLOUR, (0, (2.5, 1.2)))):
        if labels is None:
            continue
        for label in np.unique(labels[labels > 0]):
            # a frame of background closes the outline of an organ that touches the image's border
            inside = np.pad((labels == label).astype(float), 1)
            of_organ = chosen[int(label) - 1] if label <= len(chosen) else colour
            axes.contour(np.arange(-1, columns + 1), np.arange(-1, rows + 1), inside, levels=[0.5], colors=of_organ,
                         linewidths=3, linestyles=[dash])  # fmt: skip
    for number, colour in enumerate(chosen, 1) if len(chosen) > 1 else ():
        marked = (truth == number) | (False if prediction is None else prediction == number)
        if marked.any():
            number_organ(axes, marked, number, colour, 34)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    tall = max(width, width * rows / columns)
    for letter, (x, y) in zip(edges, _BORDERS, strict=False):
        rim = [patheffects.withStroke(linewidth=3, foreground="black")]
        axes.text(x, y, letter, transform=axes.transAxes, color="white", size=tall / 24, weight="bold", ha="center",
                  va="center", path_effects=rim)  # fmt: skip
    target = io.BytesIO()
    figure.savefig(target, format="png")
    with Image.open(target) as picture:
        return _png(picture.convert("RGB").quantize(128))


def error_percent(image: np.ndarray, target: np.ndarray) -> np.ndarray:
    """|image - target| in % of the target's brightest value; of 1 where the target is empty."""
    return 100 * np.abs(image - target) / (float(target.max()) or 1.0)


def error_limit(errors: Sequence[np.ndarray]) -> float:
    """A round upper end for the common scale of error maps: above all but the largest 0.5 % of the errors, in %."""
    wanted = max((float(np.percentile(error, 99.5)) for error in errors), default=1.0)
    return next((step for step in (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0) if step >= wanted), 100.0)
