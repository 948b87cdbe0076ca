# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The numbers of a page as files within it: CSV for a spreadsheet, JSON for a program."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from flare_mri.config.results import BASELINES, BEST, PERSONAL
from flare_mri.metrics.metric_table import format_bytes, metrics_in
from flare_mri.report.tables import Table
from flare_mri.report.volume_scores import Volumes

Row = Mapping[str, str | float]
_MODELS = {"": "final", BEST: "best on validation", PERSONAL: "personal"}

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Download(NamedTuple):
    """A file within the page: its name, its content as a data: address, and its size in words."""

    name: str
    href: str
    size: str


def downloads(name: str, rows: Sequence[Row]) -> list[Download]:
    """The rows as ``<name>.csv`` and ``<name>.json``; none without rows.

    Args:
        name: Of the files, without an ending.
        rows: Each with the same keys, the names of columns.
    """
    if not rows:
        return []
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    text = json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False)
    # spreadsheets take UTF-8 for another encoding without the mark at its begin
    return [
        _embed(f"{name}.csv", "text/csv", target.getvalue().encode("utf-8-sig")),
        _embed(f"{name}.json", "application/json", text.encode()),
    ]


def _embed(name: str, kind: str, content: bytes) -> Download:
    return Download(name, f"data:{kind};base64,{base64.b64encode(content).decode()}", format_bytes(len(content)))


def _harmless(value: str | float) -> str | float:
    """Text that no spreadsheet computes, whatever stands in a file of results."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def score_rows(results: dict[str, Any], volumes: Mapping[str, Mapping[str, Volumes]]) -> list[Row]:
    """Every known score of every site and method, a row each, and the scores of its test volumes where they are known.

    Args:
        results: Checked results.
        volumes: row of the tables -> site -> scores of test volumes; they get numbers in the place of their pseudonyms.
    """
    rows: list[Row] = []
    models_of_rows = {title: (title, "none") for title in BASELINES.values()}
    for method, content in results["methods"].items():
        models_of_rows |= {method + end: (method, model) for end, model in _MODELS.items()}
        for site, entry in content["sites"].items():
            models = {"final": entry, "best on validation": entry.get("best"), "personal": entry.get("personal")}
            for model, found in models.items():
                for split in ("validation", "test"):
                    rows += _rows(method, site, model, split, (found or {}).get(split) or {})
    for key, title in BASELINES.items():
        known: dict[str, dict[str, Any]] = {}
        for content in results["methods"].values():
            for site, entry in content["sites"].items():
                if entry.get(key):
                    known.setdefault(site, entry[key])
        for site, scores in known.items():
            rows += _rows(title, site, "none", "test", scores)
    for row, by_site in volumes.items():
        method, model = models_of_rows[row]
        for site, of_site in by_site.items():
            for number, of_volume in enumerate(of_site.values(), 1):
                rows += _rows(method, site, model, f"test volume {number}", of_volume)
    return rows


def _rows(method: str, site: str, model: str, split: str, scores: Mapping[str, Any]) -> Iterable[Row]:
    for metric in metrics_in(scores):
        value = scores[metric.key]
        if value is not None and np.isfinite(value):
            names = {"method": method, "site": site, "model": model, "split": split}
            yield {**names, "metric": metric.key, "unit": metric.unit, "value": float(f"{value:.6g}")}


def table_rows(table: Table) -> list[Row]:
    """A table of a page, a row each; cells as they are shown."""
    return [dict(zip(table.header, (name, *(cell.text for cell in cells)), strict=True)) for name, cells in table.rows]
