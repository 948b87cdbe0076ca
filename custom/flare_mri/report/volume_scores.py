# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of single test volumes, read from the site stores that are at hand.

They stand in no results.json, since no number of a single patient leaves a hospital.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_mri.config.results import BASELINES, BEST, PERSONAL
from flare_mri.errors import InputError
from flare_mri.metrics.volume_scores import SCORES_FILE, Rows, load_scores

_MODELS = {BEST: "best", PERSONAL: "personal"}
_SAME = 1e-4  # relative: what a site tells is the mean of what it keeps

Volumes = Mapping[str, Mapping[str, float]]
"""Pseudonym of a volume -> metric -> score."""
Kept = Mapping[tuple[str, str], Sequence[Rows]]
"""Job and site -> what its files hold."""


def read_stores(stores: Sequence[str | Path]) -> Kept:
    """Reads ``<job>/<site>/**/volume_scores.json`` in and anywhere under the given folders.

    Raises:
        InputError: a folder that is none, or a file that is none.
    """
    found: dict[tuple[str, str], list[Rows]] = {}
    for store in map(Path, stores):
        if not store.is_dir():
            raise InputError(f"{store}: expected the folder of a site store, found none; check --stores")
        for path in sorted(store.resolve().rglob(SCORES_FILE)):
            for job, site in (path.parts[-3:-1], path.parts[-4:-2]):  # a run's own folder may lie between
                found.setdefault((job, site), []).append(load_scores(path))
    return found


def find_rows(kept: Kept, method: str, job: str, site: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, Volumes]]:
    """Row of a table and the scores of its volumes, of one method at one site.

    A file belongs to a run where job and site are the run's, and its means are what the site told.

    Args:
        kept: of :func:`read_stores`.
        method: its name.
        job: that trained it.
        site: its name.
        entry: of the site in results.json.
    """
    told: dict[str, Mapping[str, Any]] = {title: entry.get(key) or {} for key, title in BASELINES.items()}
    told |= {method: entry.get("test") or {}}
    told |= {method + ending: (entry.get(key) or {}).get("test") or {} for ending, key in _MODELS.items()}
    files = kept.get((job, site), ())
    for row, test in told.items():
        matching = (rows[row] for rows in files if row in rows and _is_mean(rows[row], test))
        if (volumes := next(matching, None)) is not None:
            yield row, volumes


def find_volume_scores(results: Mapping[str, Any], stores: Sequence[str | Path]) -> dict[str, dict[str, Volumes]]:
    """Row of the tables -> site -> scores of its volumes, for those whose store is at hand; what learns nothing first.

    Raises:
        InputError: as :func:`read_stores`.
    """
    kept = read_stores(stores)
    found: dict[str, dict[str, Volumes]] = {}
    for name, method in results["methods"].items():
        for site, entry in method["sites"].items():
            for row, volumes in find_rows(kept, name, method["job"], site, entry):
                found.setdefault(row, {}).setdefault(site, volumes)
    first = [title for title in BASELINES.values() if title in found]
    return {row: found[row] for row in (*first, *(row for row in found if row not in first))}


def _is_mean(scores: Volumes, test: Mapping[str, Any]) -> bool:
    """Whether the volumes' scores are those that a site's mean was made of; a metric of slices is not compared."""
    if not scores:
        return False
    keys = [key for key in next(iter(scores.values())) if isinstance(test.get(key), int | float)]
    pairs = [(statistics.fmean(values[key] for values in scores.values()), test[key]) for key in keys]
    return bool(pairs) and any(math.isclose(mean, told, rel_tol=_SAME, abs_tol=1e-9) for mean, told in pairs)
