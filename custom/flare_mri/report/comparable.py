# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""How far the numbers of a page's methods can be compared: the data that they saw, their seeds and rounds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from flare_mri.config.results import BASELINES
from flare_mri.metrics.metric_table import metrics_in

_OTHER_DATA = (
    "The methods did not all see the same data (phantoms differ by seed), so none is named best: compare runs "
    "of the same seeds and data."
)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts site-2 before site-10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", name) if part]


def site_names(results: dict[str, Any]) -> list[str]:
    """Every site of every method, in natural order."""
    return sorted({site for method in results["methods"].values() for site in method["sites"]}, key=natural)


def phantom_sites(results: dict[str, Any]) -> list[str]:
    """Sites whose data are of the phantom, by what they said, in natural order."""
    methods = results["methods"].values()
    return [site for site in site_names(results) if any(m["sites"].get(site, {}).get("phantom") for m in methods)]


def tell_phantoms(results: dict[str, Any]) -> str:
    """`2 of 3 sites are phantoms`; empty where none is."""
    found, total = len(phantom_sites(results)), len(site_names(results))
    return f"{found} of {total} sites {'is a phantom' if found == 1 else 'are phantoms'}" if found else ""


def finite(scores: dict[str, Any] | None, key: str) -> float | None:
    """A score that is a number; else None."""
    value = (scores or {}).get(key)
    return float(value) if value is not None and math.isfinite(value) else None


def comparison_notes(results: dict[str, Any]) -> list[str]:
    """Reasons why the methods' numbers are less comparable than a table suggests, in plain sentences."""
    methods = results["methods"]
    notes = [
        f"The methods did not all see the same data at {site}: compare its rows with care."
        for site in _sites_of_other_data(results)
    ]
    if len(methods) > 1 and len({m["seed"] for m in methods.values()}) > 1:
        notes.append("The methods were run with different random seeds.")
    if told := _other_rounds(results):
        notes.append(told)
    return notes


def why_unranked(results: dict[str, Any]) -> str:
    """Why no method of a page or table may be named best, in a sentence; empty where one may be."""
    return _other_rounds(results) if saw_same_data(results) else _OTHER_DATA


def saw_same_data(results: dict[str, Any]) -> bool:
    """Whether every method saw the same data at each site, as far as numbers of slices and baselines tell."""
    return not any(_sites_of_other_data(results))


def _other_rounds(results: dict[str, Any]) -> str:
    lengths = {len(m["rounds"]) for m in results["methods"].values() if m["rounds"]}
    if len(lengths) < 2:
        return ""
    return (
        f"The methods were trained for different numbers of rounds ({min(lengths)} to {max(lengths)}), so none is "
        "named best: compare runs of as many rounds."
    )


def _sites_of_other_data(results: dict[str, Any]) -> Iterator[str]:
    for site in site_names(results):
        found = [m["sites"][site] for m in results["methods"].values() if site in m["sites"]]
        baselines = [[s[key] for s in found if s.get(key)] for key in BASELINES]
        data = [s["data"] for s in found if s.get("data")]
        if not all(map(_agree, baselines)) or any(other != data[0] for other in data[1:]):
            yield site


def _agree(scores: list[dict[str, Any]]) -> bool:
    """Whether all known metrics are equal, to the rounding of different processors."""
    for metric in metrics_in(key for entry in scores for key in entry):
        known = [value for entry in scores if (value := finite(entry, metric.key)) is not None]
        if known and not all(math.isclose(value, known[0], rel_tol=1e-3, abs_tol=1e-6) for value in known):
            return False
    return True
