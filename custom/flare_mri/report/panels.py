# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The example images of one site: the same slices by all methods, and each method's own worst, median and best one."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flare_mri.errors import InputError
from flare_mri.metrics.metric_table import KNOWN
from flare_mri.metrics.slice_dice import slice_dice
from flare_mri.report import images
from flare_mri.report.examples import CASES, Examples

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


class Case(NamedTuple):
    """Each method's own slice of one kind: its name, and a panel of a method with its pictures."""

    name: str
    panels: list[list[Picture]]


def common_error_limit(examples: dict[str, SiteExamples], count: int) -> float:
    """Upper end in % of the one scale that all error maps of a page share.

    The reconstructions' errors set it: the far larger ones of the input would leave their maps all but black.
    """
    errors = []
    for by_method in examples.values():
        for found in by_method.values():
            places = {found.index(key) for key in chosen_slices(by_method, count)}
            places |= {found.find_case(case) for case in CASES}
            if found.target is not None:
                errors += [images.error_percent(found.output[at], found.target[at]) for at in places - {None}]
    return images.error_limit(errors)


def chosen_slices(by_method: SiteExamples, count: int) -> list[tuple[str, str]]:
    """Up to ``count`` slices that all methods have, else of the first method's; worse ones before better ones.

    They are evenly chosen, of those that have scores by their mean score.
    """
    first = next(iter(by_method.values())).keys
    shared = [key for key in first if all(key in found.keys for found in by_method.values())] or first
    shared = sorted(shared, key=lambda key: _mean_score(by_method, key))
    places = np.unique(np.linspace(0, len(shared) - 1, min(count, len(shared))).round().astype(int))
    return [shared[place] for place in places]


def _mean_score(by_method: SiteExamples, key: tuple[str, str]) -> float:
    """Infinity without one."""
    places = [(found, found.index(key)) for found in by_method.values()]
    known = [float(found.score[at]) for found, at in places if found.score is not None and at is not None]
    return float(np.mean(known)) if known and np.isfinite(known).all() else float("inf")


def site_cases(site: str, by_method: SiteExamples, limit: float | None) -> list[Case]:
    """The worst, the median and the best test slice of each method, as far as they are known.

    Args:
        site: The site's name.
        by_method: Its examples by method, at least one.
        limit: Upper end of the error scale in % for reconstruction; None for segmentation.
    """
    cases, shown = [], set()
    for case in CASES:
        panels = []
        for method, data in by_method.items():
            at = data.find_case(case)
            if at is None or (method, at) in shown:  # of a single slice, the worst is the best
                continue
            shown.add((method, at))
            panels.append(_case_panel(f"{case} slice of {method} at {site}", method, data, at, limit))
        cases += [Case(case, panels)] if panels else []
    return cases


def _case_panel(what: str, method: str, data: Examples, at: int, limit: float | None) -> list[Picture]:
    place = _tell_place(data.keys[at])
    if limit is None:
        image, truth, output = _upright(data, at)
        score = _slice_dice(data, at)
        window = frame(truth, [output])
        png = images.overlay_panel(image[window], truth[window], output[window], data.organs)
        outlines = _picture(png, f"{what}: outlines of expert and network, {score}", below=f"{place}: {score}")
        return [_picture(_whole(image, window), f"{what}: {place}, the enlarged part framed", method), outlines]
    assert data.target is not None  # else it has no case
    brightest = float(np.percentile(data.target[at], 99.8))
    error, score = images.error_percent(data.output[at], data.target[at]), _psnr(data, at)
    amount = f"mean error {error.mean():.1f} %"
    return [
        _picture(images.image_panel(data.show(data.output[at], at), brightest), f"{what}: {place}, {score}", method),
        _picture(
            images.error_panel(data.show(error, at), limit), f"{what}: error map, {amount} of the brightest value"
        ),
        _picture(
            images.image_panel(data.show(data.target[at], at), brightest),
            f"{what}: the fully sampled target, {place}",
            below=f"{place}: {score}, {amount}",
        ),
    ]


def _tell_place(key: tuple[str, str]) -> str:
    """Volume and slice, counted from 1 as people count them, and as flare-mri segment and site check do."""
    return f"volume {int(key[0]) + 1}, slice {int(key[1]) + 1}"


def _psnr(data: Examples, at: int) -> str:
    """In words; empty where the slice has none."""
    value = None if data.score is None or np.isnan(data.score[at]) else float(data.score[at])
    return "" if value is None else f"PSNR {KNOWN['psnr'].quantity(value)}"


def _slice_dice(data: Examples, at: int) -> str:
    dice = slice_dice(data.output[at], _labels(data)[at]) if data.score is None else float(data.score[at])
    if dice is None or np.isnan(dice):
        return "no label on this slice"
    return f"Dice on this slice {dice:.3f}" + ("" if _labels(data)[at].any() else ", the expert marks nothing")


def _whole(image: np.ndarray, window: tuple[slice, slice]) -> bytes:
    """A slice [H, W] of any range in grey, with a frame around the part that is enlarged."""
    brightest = float(np.percentile(image, 99.8) - image.min())
    return images.image_panel(images.framed(image - image.min(), window, brightest), brightest)


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
        name = _tell_place(key)
        found = {method: (data, index) for method, data in by_method.items() if (index := data.index(key)) is not None}
        place = f"{name} of {site}"
        panels = _segmentation(place, found) if limit is None else _reconstruction(place, found, limit)
        shown.append(ExampleSlice(name, panels, [method for method in by_method if method not in found]))
    return shown


def _reconstruction(place: str, found: Found, limit: float) -> list[list[Picture]]:
    first, at = next(iter(found.values()))
    target = None if first.target is None else first.target[at]
    brightest = float(np.percentile(first.output[at] if target is None else target, 99.8))
    shown = [("Input", first.input[at], "")]
    shown += [(method, data.output[index], _psnr(data, index)) for method, (data, index) in found.items()]
    panels = []
    for title, image, score in shown:
        words = ", ".join(part for part in (place, score) if part)
        panels.append([_picture(images.image_panel(first.show(image, at), brightest), f"{title}: {words}", title)])
        if target is not None:
            error = images.error_percent(image, target)
            amount = f"{error.mean():.1f} %"
            alt = f"Error map of {title}: {place}, mean absolute error {amount} of the brightest value"
            below = ", ".join(part for part in (score, f"mean error {amount}") if part)
            panels[-1].append(_picture(images.error_panel(first.show(error, at), limit), alt, below=below))
    if target is None:
        return panels
    png = images.image_panel(first.show(target, at), brightest)
    return [*panels, [_picture(png, f"Fully sampled target: {place}", "Target")]]


def _segmentation(place: str, found: Found) -> list[list[Picture]]:
    first, at = next(iter(found.values()))
    shown_of = {method: _upright(data, index) for method, (data, index) in found.items()}
    image, truth, _ = _upright(first, at)
    window = frame(truth, [output for _, _, output in shown_of.values()])
    pictures = [_picture(_whole(image, window), f"Image: {place}", "Image", "frame: enlarged part")]
    for method, (data, index) in found.items():
        shown = _slice_dice(data, index)
        own, expert, outlined = (part[window] for part in shown_of[method])
        png = images.overlay_panel(own, expert, outlined, data.organs)
        alt = f"Outlines of the expert and of {method}: {place}, {shown}"
        pictures.append(_picture(png, alt, method, shown))
    png = images.overlay_panel(image[window], truth[window], None, first.organs)
    return [[shown] for shown in [*pictures, _picture(png, f"Outline of the expert: {place}", "Expert")]]


def _upright(data: Examples, at: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A slice to segment as it is looked at, with the labels of the expert and of the network."""
    truth = data.show(_labels(data)[at], at, labels=True)
    return data.show(data.input[at], at), truth, data.show(data.output[at], at, labels=True)


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
