# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The example images of one site, all methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from flare_mri.report import images
from flare_mri.report.elements import details, paragraph, picture
from flare_mri.report.examples import Examples

SiteExamples = dict[str, Examples]
"""method -> its examples at one site."""

_ABSENT = "This method stored other slices."


def common_error_limit(examples: dict[str, SiteExamples], count: int) -> float:
    """Upper end in % of the one scale that all error maps of a page share.

    The networks' errors set it: the far larger ones of the input would leave their maps all but black.
    """
    errors = []
    for by_method in examples.values():
        for key in chosen_slices(by_method, count):
            for found in by_method.values():
                index = found.index(key)
                if index is not None:
                    errors.append(images.error_percent(found.output[index], found.target[index]))
    return images.error_limit(errors)


def chosen_slices(by_method: SiteExamples, count: int) -> list[tuple[str, str]]:
    """Up to ``count`` slices, evenly chosen from those that all methods have; else from the first method's."""
    first = next(iter(by_method.values())).keys
    shared = [key for key in first if all(key in found.keys for found in by_method.values())] or first
    places = np.unique(np.linspace(0, len(shared) - 1, min(count, len(shared))).round().astype(int))
    return [shared[place] for place in places]


def site_panels(site: str, by_method: SiteExamples, count: int, limit: float | None) -> str:
    """Panels of a site: the first slice open, the others folded.

    Args:
        site: The site's name.
        by_method: Its examples by method, at least one.
        count: Most slices to show.
        limit: Upper end of the error scale in % for reconstruction; None for segmentation.
    """
    blocks = []
    for key in chosen_slices(by_method, count):
        name = f"volume {key[0]}, slice {key[1]}"
        make = _segmentation if limit is None else _reconstruction
        found = {method: (data, index) for method, data in by_method.items() if (index := data.index(key)) is not None}
        panels = make(site, name, found, limit or 0.0)
        panels += [
            f"<strong>{escape(m)}</strong>{paragraph(_ABSENT, 'small muted')}" for m in by_method if m not in found
        ]
        figures_html = "".join(f"<figure>{panel}</figure>" for panel in panels)
        blocks.append((name, f'<div class="panels">{figures_html}</div>'))
    heading = f"<h3>Test images: {escape(blocks[0][0])}</h3>"
    return heading + blocks[0][1] + "".join(details(f"More test images: {name}", html) for name, html in blocks[1:])


def _reconstruction(site: str, name: str, found: dict[str, tuple[Examples, int]], limit: float) -> list[str]:
    first, at = next(iter(found.values()))
    target = first.target[at]
    brightest = float(np.percentile(target, 99.8))
    shown = {"Input": (first.input[at], target)}
    shown |= {method: (data.output[index], data.target[index]) for method, (data, index) in found.items()}
    panels = []
    for title, (image, truth) in shown.items():
        error = images.error_percent(image, truth)
        amount = f"{error.mean():.1f} %"
        grey = picture(images.image_panel(image, brightest), f"{title}: {name} of {site}", title, "")
        coloured = picture(
            images.error_panel(error, limit),
            f"Error map of {title}: {name} of {site}, mean absolute error {amount} of the brightest value",
            "",
            f"mean error {amount}",
        )
        panels.append(grey + coloured)
    alt = f"Fully sampled target: {name} of {site}"
    panels.append(picture(images.image_panel(target, brightest), alt, "Target", ""))
    return panels


def _segmentation(site: str, name: str, found: dict[str, tuple[Examples, int]], _: float) -> list[str]:
    first, at = next(iter(found.values()))
    image, truth = first.input[at], first.target[at]
    brightest = float(np.percentile(image, 99.8) - image.min())
    window = frame(truth, [data.output[index] for data, index in found.values()])
    whole = images.framed(image - image.min(), window, brightest)
    panels = [
        picture(images.image_panel(whole, brightest), f"Image: {name} of {site}", "Image", "frame: enlarged part")
    ]
    for method, (data, index) in found.items():
        overlap = slice_dice(data.output[index], data.target[index])
        shown = "no label on this slice" if overlap is None else f"Dice on this slice {overlap:.3f}"
        png = images.overlay_panel(data.input[index][window], data.target[index][window], data.output[index][window])
        alt = f"Outlines of the expert and of {method}: {name} of {site}, {shown}"
        panels.append(picture(png, alt, method, shown))
    alt = f"Outline of the expert: {name} of {site}"
    return [*panels, picture(images.overlay_panel(image[window], truth[window], None), alt, "Expert", "")]


def frame(truth: np.ndarray, predictions: Sequence[np.ndarray]) -> tuple[slice, slice]:
    """The square part of a slice that is shown enlarged: whatever anybody outlined, with a margin of a third.

    Nothing that a network marks is ever left out, however far it lies from the organ.
    """
    marked = np.argwhere(np.any([truth > 0, *(prediction > 0 for prediction in predictions)], axis=0))
    if not len(marked):
        return slice(None), slice(None)
    low, high = marked.min(0), marked.max(0) + 1
    side = int(np.ceil(max((high - low).max() * 5 / 3, max(truth.shape) / 4)))
    starts = [
        int(np.clip((first + last - side) // 2, 0, max(length - side, 0)))
        for first, last, length in zip(low, high, truth.shape, strict=True)
    ]
    rows, columns = (slice(start, min(start + side, length)) for start, length in zip(starts, truth.shape, strict=True))
    return rows, columns


def slice_dice(prediction: np.ndarray, truth: np.ndarray) -> float | None:
    """Mean Dice over the labels that either map holds; None where both are empty."""
    labels = np.union1d(prediction[prediction > 0], truth[truth > 0])
    pairs = [(prediction == label, truth == label) for label in labels]
    values = [2 * np.logical_and(p, t).sum() / (p.sum() + t.sum()) for p, t in pairs]
    return float(np.mean(values)) if values else None
