# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site's labelled volumes, whatever their format: found, checked, z-scored, cut to the network's slices, cached."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial

import numpy as np

from flare_mri.config.site import DataSettings, SiteConfig
from flare_mri.datasets.cache import CachedVolume, cache_key, open_cache
from flare_mri.datasets.grid import Grid
from flare_mri.datasets.phantom import DEFAULT_MATRIX
from flare_mri.datasets.phantom_pelvis import PELVIS_VERSION, make_pelvis, pelvis_geometry
from flare_mri.errors import InputError
from flare_mri.files import check_matrix
from flare_mri.io.cases import Case
from flare_mri.io.formats import SEGMENTATION, check_task
from flare_mri.io.orientation import orientation
from flare_mri.io.readers_datalist import find_datalist_2d, find_decathlon
from flare_mri.io.readers_prostate import find_prostate

CACHE_VERSION = 1  # raise it when readers give other numbers for the same files

_WHITE = 255  # FLARE's 2D example stores the organ in white
_MOST_LABELS = 16  # more different values are those of an image

FINDERS: dict[str, Callable[[DataSettings], list[Case]]] = {
    "prostate": find_prostate,
    "decathlon": find_decathlon,
    "datalist_2d": find_datalist_2d,
}


@dataclass(frozen=True)
class LabelledVolume:
    """One volume: `slices[i]` is float32 [2, H, W], z-scored image and label 0 or 1, or [1, H, W] without a label.

    Slices with label are kept, all of them where there is no label; `grid` says which these are, `orientation` how the
    file's axes lie, where that is known; `digest` is the hex SHA-256 of the slices, where they are cached.
    """

    name: str
    section: str
    labelled: bool
    grid: Grid
    slices: CachedVolume | np.ndarray
    orientation: str = ""
    digest: str = ""


def open_labelled(config: SiteConfig) -> list[LabelledVolume]:
    """Opens all volumes of a site; the images are read only where the cache does not hold them.

    Args:
        config: `data` and `cache` of the site.

    Returns:
        The volumes in the order of the list or of their names, all of one height and width.

    Raises:
        InputError: no volume, a bad file, labels that do not fit, volumes of different sizes, or a cache folder that
            cannot be used.
    """
    data, cases = config.data, find_cases(config)
    cache = open_cache(config)
    settings = {**asdict(data), "root": None, "datalist": None, "subjects": None, "cache": CACHE_VERSION}
    volumes: list[LabelledVolume] = []
    for case in cases:
        what = ["labelled", len(case.files)] if case.files else [config.site, "pelvis", case.name, PELVIS_VERSION]
        key = cache_key(case.files, [settings, what])  # looks at the files once
        keys = [cache_key((), [key, part]) for part in ("grid", "slices")]
        grid = _decoded(cache.load(keys[0], partial(_encoded, case, data)), case, data)
        if volumes and grid.matrix != volumes[0].grid.matrix:
            raise InputError(
                f"{case.origin}: expected slices of {list(volumes[0].grid.matrix)} as in {volumes[0].name}, "
                f"got {list(grid.matrix)}; set data.matrix to bring all volumes to one size"
            )
        slices = cache.open(keys[1], partial(read_slices, case, data, grid))
        axes, labelled = orientation(case.files), case.label is not None
        volumes.append(LabelledVolume(case.name, case.section, labelled, grid, slices, axes, slices.digest))
    return volumes


def find_cases(config: SiteConfig) -> list[Case]:
    """Finds all cases of a site, in the order of the list or of their names; no image is read.

    Raises:
        InputError: data of another task, no case, or files that do not fit together.
    """
    check_task(config.data.format, SEGMENTATION)
    return _phantom(config) if config.data.format == "phantom" else FINDERS[config.data.format](config.data)


def find_grid(case: Case, data: DataSettings) -> Grid:
    """Where the network's slices lie in a case: those with label, or all of `data.slices` where it has none.

    Raises:
        InputError: no such slice, or a header or label that cannot be used.
    """
    return _decoded(_encoded(case, data), case, data)


def _encoded(case: Case, data: DataSettings) -> np.ndarray:
    """Shape, spacing and the numbers of the slices to keep in one row, as the cache stores it."""
    shape, spacing = case.geometry()
    taken = data.slices.indices(shape[0])
    if case.label is None:
        kept = np.array(taken)
    else:
        label = _read_label(case, shape, data)
        kept = np.array([number for number in taken if label[number].any()])
    if not len(kept):
        what = "a slice with label" if case.label else "a slice"
        raise InputError(
            f"{case.origin}: expected {what}, got none of {len(taken)}; correct data.slices or leave the case out"
        )
    return np.concatenate([shape, spacing, kept]).astype(np.float32)


def _decoded(row: np.ndarray, case: Case, data: DataSettings) -> Grid:
    slices, height, width = (int(size) for size in row[:3])
    spacing = (float(row[3]), float(row[4]), float(row[5]))
    kept = tuple(int(number) for number in row[6:])
    return Grid((slices, height, width), spacing, kept, data.matrix or (height, width), data.fit, case.axis)


def read_slices(case: Case, data: DataSettings, grid: Grid) -> np.ndarray:
    """Reads, checks and z-scores the whole volume, then takes the slices to keep: float32 [K, 1 or 2, h, w].

    Raises:
        InputError: a file that cannot be read or does not fit its header, NaN, no contrast, or a label out of range.
    """
    image = np.asarray(case.image(), np.float64)
    if image.shape != grid.shape:
        raise InputError(
            f"{case.origin}: expected shape {list(grid.shape)} of its header, got {list(image.shape)}; copy it again"
        )
    bad = ~np.isfinite(image)
    if bad.any():
        raise InputError(
            f"{case.origin}: expected finite values, got {int(bad.sum())} NaN or infinite (first in slice "
            f"{int(np.argmax(bad.any((1, 2))))}); export the volume again or leave it out"
        )
    deviation = image.std()
    if not deviation:
        raise InputError(f"{case.origin}: expected an image, got {image.flat[0]:g} everywhere; leave the case out")
    kept = list(grid.kept)
    check_matrix(case.origin, len(kept), grid.matrix)
    parts = [grid.images((image[kept] - image.mean()) / deviation)]
    if case.label is not None:
        parts.append(grid.labels(_read_label(case, grid.shape, data)[kept], case.origin).astype(np.float32))
    return np.stack(parts, axis=1)


def _read_label(case: Case, shape: tuple[int, int, int], data: DataSettings) -> np.ndarray:
    """Reads the label and checks its shape and values; uint8 [S, H, W], 0 and 1."""
    assert case.label is not None
    label, where = np.asarray(case.label()), f"{case.origin}: its label"
    if label.shape != shape:
        raise InputError(
            f"{where}: expected the image's shape {list(shape)}, got {list(label.shape)}; "
            "give the label of this very image"
        )
    values = np.unique(label)
    whole = bool(np.isfinite(values).all()) and not np.mod(values, 1).any() and values.min() >= 0
    if data.merge_labels:
        good, expected = whole and len(values) <= _MOST_LABELS, "whole numbers >= 0 (above 0 is the organ)"
    else:
        one = _WHITE if data.format == "datalist_2d" and values.max() == _WHITE else 1
        good, expected = whole and set(values.tolist()) <= {0, one}, "0 and 1"
        expected += " or 255" if data.format == "datalist_2d" else ""
    if not good:
        got = f"{', '.join(f'{value:g}' for value in values[:8])}{', ...' if len(values) > 8 else ''}"
        fix = "give the label" if data.merge_labels else "give the label, or set data.merge_labels: true"
        raise InputError(f"{where}: expected {expected}, got {len(values)} values ({got}); {fix}")
    return (label > 0).astype(np.uint8)


def _phantom(config: SiteConfig) -> list[Case]:
    matrix = config.data.matrix or DEFAULT_MATRIX
    cases = []
    for subject in range(config.data.subjects):
        image, label = (partial(_scan, config.site, subject, matrix, part) for part in ("slices", "labels"))
        cases.append(Case(f"subject-{subject:02d}", "", (), partial(pelvis_geometry, matrix), image, label))
    return cases


def _scan(site_name: str, subject: int, matrix: tuple[int, int], part: str) -> np.ndarray:
    return getattr(_pelvis(site_name, subject, matrix), part)


_pelvis = lru_cache(maxsize=1)(make_pelvis)  # image and label are asked for one after the other
