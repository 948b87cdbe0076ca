# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The example images of one site, all methods side by side."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flare_mri.errors import InputError
from flare_mri.metrics.slice_dice import slice_dice
from flare_mri.report import images
from flare_mri.report.examples import Examples

SiteExamples = dict[str, Examples]
"""method -> its examples at one site."""

Found = dict[str, tuple[Examples, int]]
"""method -> its examples that hold a slice, and where in them it stands."""


class Picture(NamedTuple):
    """A PNG in base64, its description for those who do not see it, a name above and a short line below."""

    png: str
    alt: str
    heading: str = ""
    below: str = ""


class ExampleSlice(NamedTuple):
    """One test slice: panels of one picture or two, and the methods that stored other slices."""

    name: str
    panels: list[list[Picture]]
    absent: list[str]


def _picture(png: bytes, alt: str, heading: str = "", below: str = "") -> Picture:
    return Picture(base64.b64encode(png).decode("ascii"), alt, heading, below)


def common_error_limit(examples: dict[str, SiteExamples], count: int) -> float:
    """Upper end in % of the one scale that all error maps of a page share.

    The networks' errors set it: the far larger ones of the input would leave their maps all but black.
    """
    errors = []
    for by_method in examples.values():
        for key in chosen_slices(by_method, count):
            for found in by_method.values():
                index = found.index(key)
                if index is not None and found.target is not None:
                    errors.append(images.error_percent(found.output[index], found.target[index]))
    return images.error_limit(errors)


def chosen_slices(by_method: SiteExamples, count: int) -> list[tuple[str, str]]:
    """Up to ``count`` slices, evenly chosen from those that all methods have; else from the first method's."""
    first = next(iter(by_method.values())).keys
    shared = [key for key in first if all(key in found.keys for found in by_method.values())] or first
    places = np.unique(np.linspace(0, len(shared) - 1, min(count, len(shared))).round().astype(int))
    return [shared[place] for place in places]


def site_panels(site: str, by_method: SiteExamples, count: int, limit: float | None) -> list[ExampleSlice]:
    """Panels of a site's test slices.

    Args:
        site: The site's name.
        by_method: Its examples by method, at least one.
        count: Most slices to show.
        limit: Upper end of the error scale in % for reconstruction; None for segmentation.
    """
    shown = []
    for key in chosen_slices(by_method, count):
        name = f"volume {key[0]}, slice {key[1]}"
        found = {method: (data, index) for method, data in by_method.items() if (index := data.index(key)) is not None}
        place = f"{name} of {site}"
        panels = _segmentation(place, found) if limit is None else _reconstruction(place, found, limit)
        shown.append(ExampleSlice(name, panels, [method for method in by_method if method not in found]))
    return shown


def _reconstruction(place: str, found: Found, limit: float) -> list[list[Picture]]:
    first, at = next(iter(found.values()))
    target = None if first.target is None else first.target[at]
    brightest = float(np.percentile(first.output[at] if target is None else target, 99.8))
    shown = {"Input": first.input[at]} | {method: data.output[index] for method, (data, index) in found.items()}
    panels = []
    for title, image in shown.items():
        panels.append([_picture(images.image_panel(image, brightest), f"{title}: {place}", title)])
        if target is not None:
            error = images.error_percent(image, target)
            amount = f"{error.mean():.1f} %"
            alt = f"Error map of {title}: {place}, mean absolute error {amount} of the brightest value"
            panels[-1].append(_picture(images.error_panel(error, limit), alt, below=f"mean error {amount}"))
    if target is None:
        return panels
    png = images.image_panel(target, brightest)
    return [*panels, [_picture(png, f"Fully sampled target: {place}", "Target")]]


def _segmentation(place: str, found: Found) -> list[list[Picture]]:
    first, at = next(iter(found.values()))
    image, truth = first.input[at], _labels(first)[at]
    brightest = float(np.percentile(image, 99.8) - image.min())
    window = frame(truth, [data.output[index] for data, index in found.values()])
    whole = images.image_panel(images.framed(image - image.min(), window, brightest), brightest)
    pictures = [_picture(whole, f"Image: {place}", "Image", "frame: enlarged part")]
    for method, (data, index) in found.items():
        overlap = slice_dice(data.output[index], _labels(data)[index])
        shown = "no label on this slice" if overlap is None else f"Dice on this slice {overlap:.3f}"
        truth_here, outlined = _labels(data)[index][window], data.output[index][window]
        png = images.overlay_panel(data.input[index][window], truth_here, outlined, data.organs)
        alt = f"Outlines of the expert and of {method}: {place}, {shown}"
        pictures.append(_picture(png, alt, method, shown))
    png = images.overlay_panel(image[window], truth[window], None, first.organs)
    return [[shown] for shown in [*pictures, _picture(png, f"Outline of the expert: {place}", "Expert")]]


def _labels(examples: Examples) -> np.ndarray:
    """The expert's label maps.

    Raises:
        InputError: the site stored none.
    """
    if examples.target is None:
        raise InputError("examples: target: expected the expert's label maps, got none; run the job again")
    return examples.target


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
