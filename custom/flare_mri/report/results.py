# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Read, check, merge, write and print results.json, the one record that every run leaves.

The format stands in :mod:`flare_mri.config.results`. Nothing here needs matplotlib, so a server may import it.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flare_mri.atomic_file import write_atomically
from flare_mri.config.results import validate_results
from flare_mri.errors import InputError
from flare_mri.files import read_json
from flare_mri.metrics.metric_table import KNOWN, Metric
from flare_mri.report.comparable import tell_phantoms
from flare_mri.report.scores import Scores, Spread, collect, leading_metrics, metrics_of, privacy_spent, tell_misses

_MOST_BYTES = 2**26  # thousands of rounds at a hundred sites


def load_results(path: str | Path) -> dict[str, Any]:
    """Reads and checks one results.json.

    Args:
        path: The file.

    Returns:
        Its content; NaN and infinities, which are no JSON, become None.

    Raises:
        InputError: The file is missing, unreadable, cut short or of another format.
    """
    path = Path(path)
    return validate_results(read_json(path, _MOST_BYTES, "give the results.json that a finished run wrote"), str(path))


def save_results(results: dict[str, Any], path: str | Path) -> Path:
    """Checks and writes a results.json atomically: a reader sees the old file or the new one, never half.

    Args:
        results: As the schema says; NumPy and torch scalars may stand in for numbers.
        path: Where to write; missing folders are made.

    Returns:
        The path written.

    Raises:
        InputError: The results are not of the format.
    """
    path = Path(path)
    plain = validate_results(_plain(results), str(path))
    write_atomically(path, json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def _plain(value: Any) -> Any:
    """Builtin types only; numbers that JSON cannot hold become None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, str | int | float | bool | type(None)) and hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def merge_results(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Puts the methods of several runs into one results dictionary.

    Where a run's versions differ from the first run's, its methods keep their own in ``versions``.

    Args:
        runs: Checked results, at least one. They are not changed.

    Returns:
        A new dictionary with all methods in the order given.

    Raises:
        InputError: Nothing to merge, or one method's name with different content in two runs.
    """
    if not runs:
        raise InputError("results: expected at least one results.json to merge, got none; name the files to merge")
    merged = copy.deepcopy(runs[0])
    for run in runs[1:]:
        for name, method in run["methods"].items():
            method = copy.deepcopy(method)
            if run["versions"] != merged["versions"]:
                method.setdefault("versions", dict(run["versions"]))
            known = merged["methods"].setdefault(name, method)
            if known != method:
                raise InputError(
                    f"results: method {name} stands in two files with different content (created "
                    f"{known['created']} and {method['created']}); leave one file out or rename the method in it"
                )
    return merged


def summary_table(results: dict[str, Any], *metrics: str, spread: Callable[[Metric], Spread] | None = None) -> str:
    """A plain-text table, methods by sites with the mean, for terminals.

    Args:
        results: Checked results.
        *metrics: Metric keys such as ``"psnr"``; without any, the main metric of every site.
        spread: Of a metric, the standard deviations over seeds, see :data:`~flare_mri.report.scores.Spread`.

    Returns:
        One block of lines a metric and group of sites that were treated alike (trained, or outside); the best of
        each column is marked ``*``. Of methods trained with DP-SGD also a block with the ε that each site spent.

    Raises:
        InputError: A metric that is unknown or that no site reports.
    """
    chosen = chosen_metrics(results, metrics)
    found = [
        (group, spread(metric) if spread else {}) for metric in chosen for group in collect(results, metric).groups()
    ]
    blocks = [_table(group, deviations, tell_phantoms(results)) for group, deviations in found]
    misses = "\n".join(tell_misses(results))
    return "\n\n".join([*blocks, *_privacy_lines(results), *([misses] if misses else [])])


def chosen_metrics(results: dict[str, Any], keys: Sequence[str]) -> list[Metric]:
    """The metrics that are named; without any, the main metric of every site.

    Raises:
        InputError: A metric that is unknown or that no site reports.
    """
    present = metrics_of(results)
    return [_present(key, present) for key in keys] if keys else leading_metrics(results)


def _present(key: str, present: list[Metric]) -> Metric:
    if key not in KNOWN or KNOWN[key] not in present:
        names = ", ".join(metric.key for metric in present)
        raise InputError(f"results: metric: expected one of {names}, got {key!r}; choose one that the run measured")
    return KNOWN[key]


def _privacy_lines(results: dict[str, Any]) -> list[str]:
    lines = [
        f"{name}: " + ", ".join(f"{site} {epsilon:.3g} (δ {delta:.3g})" for site, (epsilon, delta) in by_site.items())
        for name, by_site in privacy_spent(results).items()
    ]
    return ["\n".join(["ε spent by DP-SGD in the whole run, lower is better", *lines])] if lines else []


def _table(scores: Scores, spread: Spread, phantoms: str) -> str:
    metric = scores.metric
    rows = [["method", *(f"{site} " for site in scores.sites), "mean ", ""]]
    for method in scores.values:
        values = {s: scores.get(method, s) for s in scores.sites}
        cells = [
            metric.number(value) + metric.deviation(spread.get((method, s))) + " *"[method in scores.best(s)]
            for s, value in values.items()
        ]
        mean = metric.number(scores.mean(method)) + metric.deviation(spread.get((method, None)))
        mean += " *"[method in scores.best()]
        count = scores.coverage(method)
        note = "" if count == len(scores.sites) else f"({count} of {len(scores.sites)} sites)"
        rows.append([method, *cells, mean, note])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers, row[-1]]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    told = ["* best"] if any(map(scores.best, (*scores.sites, None))) else []
    told += ["mean ± standard deviation over seeds"] if spread else []
    title = f"{metric.heading}, test data{f' ({phantoms})' if phantoms else ''}, {metric.direction}"
    return "\n".join([f"{title} ({'; '.join(told)})" if told else title, *lines])
