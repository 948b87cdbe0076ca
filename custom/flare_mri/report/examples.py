# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The example images that every site keeps in its own store, read for a report made on the same computer."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np

from flare_mri.config.results import BASELINES
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.datasets.pictures import SlicePlace, show_slice
from flare_mri.errors import InputError
from flare_mri.files import DEFLATE_RATIO, read_member

FILES = "examples*.npz"
_IMAGES = ("input", "output", "target")
_RANKS = ("score", "rank", "ranked")
_PLACES = ("axcodes", "spacing")
_NAMES = (*_IMAGES, "volume", "slice", "features", *_RANKS, *_PLACES)
CASES = ("worst", "median", "best")
"""The slices of a method that a page shows of it alone, in this order."""
_LONGEST = 640  # pixels of a side of a picture
_THINNEST = 1e-3  # mm of a pixel
_MOST_BYTES = 2**28  # of one array; a few slices are kept, not volumes
_REMEDY = "run the job again, or leave this store out"


@dataclass(frozen=True)
class Examples:
    """A few test slices of one site as one method left them.

    Attributes:
        input: [N, H, W] float32, what the network was given (zero-filled magnitude, or the slice to segment).
        output: [N, H, W] float32, the network's image, or its label map.
        target: [N, H, W] float32, the fully sampled image, or the expert's label map; None of scans that were measured
            undersampled.
        keys: N pairs (volume, slice), as text.
        features: [M, C] float32 bottleneck features of M test slices, or None.
        organs: name -> colour (empty: of a palette) of each class of label maps from 1, where there are several.
        score: [N] PSNR in dB or Dice of each slice; NaN where it has none. None: the file is of an older version.
        rank: [N] whole numbers: 1 for the worst of the method's test slices, 0 without a score.
        ranked: [N] how many test slices have a score.
        places: how each slice lies; empty: the file is of an older version.
    """

    input: np.ndarray
    output: np.ndarray
    target: np.ndarray | None
    keys: list[tuple[str, str]]
    features: np.ndarray | None
    organs: dict[str, str] = field(default_factory=dict)
    score: np.ndarray | None = None
    rank: np.ndarray | None = None
    ranked: np.ndarray | None = None
    places: tuple[SlicePlace, ...] = ()

    def show(self, part: np.ndarray, at: int, labels: bool = False) -> np.ndarray:
        """A slice [H, W], or what was made of it, as radiologists look at it, see
        :func:`~flare_mri.datasets.pictures.show_slice`; as stored in a file of an older version.

        Args:
            part: of this size.
            at: place of the slice.
            labels: whether these are whole numbers of organs.
        """
        part = part.astype(np.uint8) if labels else part
        return show_slice(part, self.places[at], _LONGEST) if self.places else part

    def find_case(self, case: str) -> int | None:
        """Place of the slice that is one of :data:`CASES`; None where slices have no scores, or no target.

        Of the pooled slices of several sites, each with its own ranks, it is that of all of these.
        """
        if self.target is None or self.score is None or self.rank is None or self.ranked is None:
            return None
        wanted = {"worst": np.ones_like(self.ranked), "median": (self.ranked + 1) // 2, "best": self.ranked}[case]
        places = np.flatnonzero((self.rank > 0) & (self.rank == wanted))
        places = places[np.argsort(self.score[places], kind="stable")]
        middle = {"worst": 0, "median": (len(places) - 1) // 2, "best": len(places) - 1}[case]
        return int(places[middle]) if len(places) else None

    def index(self, key: tuple[str, str]) -> int | None:
        """Place of the slice, or None."""
        return self.keys.index(key) if key in self.keys else None


def load_examples(path: str | Path) -> Examples:
    """Reads one examples.npz.

    Args:
        path: The file, with ``input, output`` and maybe ``target`` [N, H, W], ``volume, slice`` [N] and maybe
            ``features`` [M, C], ``axcodes`` [N] and ``spacing`` [N, 2].

    Raises:
        InputError: The file is missing or broken, an array is missing, of the wrong shape or not finite.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; {_REMEDY}")
    try:
        limit = min(_MOST_BYTES, DEFLATE_RATIO * path.stat().st_size)
        with zipfile.ZipFile(path) as archive:
            present = [name for name in _NAMES if f"{name}.npy" in archive.namelist()]
            arrays = {name: read_member(archive, name, limit) for name in present}
    # zipfile, zlib, struct and ast raise nearly every built-in exception on damaged files.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: expected a NumPy .npz archive, cannot be read ({reason}); {_REMEDY}") from None
    for name in ("input", "output", "volume", "slice"):
        if name not in arrays:
            raise InputError(f"{path}: {name}: expected an array, got none; {_REMEDY}")
    first = "target" if "target" in arrays else "output"
    shape = arrays[first].shape
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"{path}: {first}: expected the shape (N, H, W), none of them 0, got {shape}; {_REMEDY}")
    for name, expected in (("input", shape), ("output", shape), ("volume", shape[:1]), ("slice", shape[:1])):
        if arrays[name].shape != expected:
            raise InputError(f"{path}: {name}: expected the shape {expected}, got {arrays[name].shape}; {_REMEDY}")
    features = arrays.get("features")
    if features is not None and features.ndim != 2:
        raise InputError(f"{path}: features: expected the shape (M, C), got {features.shape}; {_REMEDY}")
    if any(name in arrays for name in _RANKS):
        for name in _RANKS:
            if name not in arrays or arrays[name].shape != shape[:1]:
                got = arrays[name].shape if name in arrays else "none"
                raise InputError(f"{path}: {name}: expected the shape {shape[:1]}, got {got}; {_REMEDY}")
    real = (*_IMAGES, "features", "rank", "ranked")
    found: dict[str, Any] = {name: _finite(path, name, arrays[name]) if name in arrays else None for name in real}
    if "score" in arrays:
        found["score"] = _finite(path, "score", arrays["score"], admit_nan=True)
    found["places"] = _places(path, arrays, shape[0])
    for name in ("volume", "slice"):
        if arrays[name].dtype.kind not in "iu":
            raise InputError(f"{path}: {name}: expected whole numbers, got {arrays[name].dtype}; {_REMEDY}")
    keys = [(str(v), str(s)) for v, s in zip(arrays["volume"], arrays["slice"], strict=True)]
    return Examples(keys=keys, organs=_organs(path), **found)


def _places(path: Path, arrays: dict[str, np.ndarray], count: int) -> tuple[SlicePlace, ...]:
    """How the slices lie.

    Raises:
        InputError: axis codes or sizes of pixels that are none.
    """
    if not any(name in arrays for name in _PLACES):
        return ()
    codes, spacing = (arrays.get(name, np.zeros(0)) for name in _PLACES)
    ways = {"", *("".join(one) for order in permutations(("RL", "AP", "SI")) for one in product(*order))}
    if codes.shape != (count,) or not {str(code) for code in codes} <= ways:
        raise InputError(f"{path}: axcodes: expected {count} such as PLS, or empty ones, got others; {_REMEDY}")
    steps = _finite(path, "spacing", spacing)
    if steps.shape != (count, 2) or not ((steps > _THINNEST) & (steps < 1 / _THINNEST)).all():
        raise InputError(f"{path}: spacing: expected {count} pairs of mm of pixels, got others; {_REMEDY}")
    return tuple(SlicePlace(str(c), (float(d), float(a))) for c, (d, a) in zip(codes, steps, strict=True))


def _organs(path: Path) -> dict[str, str]:
    """Names and colours of organs.

    Raises:
        InputError: names or colours that are none.
    """
    with np.load(path, allow_pickle=False) as file:
        if "organs" not in file.files:
            return {}
        names, colours = ([str(one) for one in np.atleast_1d(file[key])] for key in ("organs", "colours"))
    wanted = SegmentationPlan.read({"organs": names}, f"{path}: organs").organs
    if len(colours) != len(wanted) or not all(re.fullmatch("(#[0-9a-fA-F]{6})?", colour) for colour in colours):
        raise InputError(f"{path}: colours: expected one such as #ffd60a for each organ, got others; {_REMEDY}")
    return dict(zip(wanted, colours, strict=True))


def _made_by(path: Path) -> str | None:
    """The method whose images these are, where the file says so; a job of several methods leaves a file for each."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file["method"]) if "method" in file.files else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None  # the file is wanted all the same, and `load_examples` says what is wrong with it


def _finite(path: Path, name: str, array: np.ndarray, admit_nan: bool = False) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise InputError(f"{path}: {name}: expected real numbers, got {array.dtype}; {_REMEDY}")
    if not np.isfinite(array[~np.isnan(array)] if admit_nan else array).all():
        raise InputError(f"{path}: {name}: expected finite numbers, got NaN or infinity; {_REMEDY}")
    return array.astype(np.float32)


def find_examples(
    results: dict[str, Any], stores: Sequence[str | Path], needed: bool = True
) -> dict[str, dict[str, Path]]:
    """Looks for ``<job>/<site>/examples*.npz`` in and anywhere under the given folders.

    A hospital holds its own store only, so sites without a file are left out. A file with an array ``method`` is of
    the method of that name alone, or of the classical reconstruction, which comes first where the results score it.

    Args:
        results: Checked results, whose methods name their jobs.
        stores: Site stores, or folders that hold several.
        needed: Whether it is a mistake that nothing at all is found.

    Returns:
        method, or title of a classical reconstruction -> site -> path, for those found.

    Raises:
        InputError: A folder does not exist, one file stands in two places, or nothing was found and it is needed.
    """
    found: dict[tuple[str, str | None], list[Path]] = {}
    for store in map(Path, stores):
        if not store.is_dir():
            raise InputError(f"{store}: expected the folder of a site store, found none; check --stores")
        for path in store.resolve().rglob(FILES):
            known = found.setdefault(("/".join(path.parts[-3:-1]), _made_by(path)), [])
            known += [path] if path not in known else []
    chosen: dict[str, dict[str, Path]] = {}
    for name, method, site in _wanted(results):
        place = f"{method['job']}/{site}"
        paths = found.get((place, name)) or ([] if name in BASELINES.values() else found.get((place, None), []))
        if len(paths) > 1:
            raise InputError(
                f"{paths[0]}: site {site}: expected one store of job {method['job']}, also found {paths[1]}; "
                "give --stores the folder of one run"
            )
        if paths:
            chosen.setdefault(name, {}).setdefault(site, paths[0])
    if needed and stores and not chosen:
        jobs = ", ".join(sorted({method["job"] for method in results["methods"].values()}))
        places = ", ".join(map(str, stores))
        raise InputError(f"{places}: expected <job>/<site>/{FILES} for job {jobs}, found none; check --stores")
    return chosen


def _wanted(results: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Row of tables, the method whose job scored it, and site: what learns nothing first."""
    for key, title in BASELINES.items():
        for method in results["methods"].values():
            yield from ((title, method, site) for site, entry in method["sites"].items() if entry.get(key))
    for name, method in results["methods"].items():
        yield from ((name, method, site) for site in method["sites"])


def has_row(results: dict[str, Any], name: str, site: str) -> bool:
    """Whether tables have a row of this name with this site: a method's, or a classical reconstruction's."""
    return any((name, site) == (row, at) for row, _, at in _wanted(results))
