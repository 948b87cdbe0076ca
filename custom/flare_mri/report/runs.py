# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The section of settings, versions, time and traffic, and what a site says of its data."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flare_mri.metrics.metric_table import MISSING, format_bytes, format_seconds
from flare_mri.report.elements import Cell, details, section, settings_table, table


def runs(results: dict[str, Any]) -> str:
    """Seeds, times, traffic, versions and settings: what is needed to do it again."""
    rows = []
    described: dict[str, list[str]] = {}  # methods of one run, such as all rows of an outside site, say the same
    for name, method in results["methods"].items():
        sent, received = (_traffic(method, key) for key in ("bytes_sent", "bytes_received"))
        rounds, seconds = (
            len(method["rounds"]),
            [r["seconds"] for r in method["rounds"] if r.get("seconds") is not None],
        )
        cells = [method["job"], _moment(method["created"]), str(method["seed"]), str(rounds) if rounds else MISSING]
        cells += [
            format_seconds(method["seconds"]),
            format_seconds(sum(seconds) / len(seconds)) if seconds else MISSING,
        ]
        rows.append((name, [Cell(text) for text in [*cells, sent, received]]))
        versions = method.get("versions") or results["versions"]
        body = settings_table("Settings", method["settings"]) + settings_table("Versions", versions) + _rounds(method)
        described.setdefault(body, []).append(name)
    folded = [details(f"{', '.join(names)}: settings, versions, rounds", body) for body, names in described.items()]
    header = ("Method", "Job", "Created", "Seed", "Rounds", "Time in all", "Time a round", "Sent", "Received")
    caption = "Runs. Sent and received: mean over rounds and sites, what one site sends and gets in one round"
    return section("runs", "Settings and cost", table(caption, header, rows) + "".join(folded))


def _moment(created: str) -> str:
    """An ISO time to the minute; anything else as it is."""
    try:
        return datetime.fromisoformat(created).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return created


def _traffic(method: dict[str, Any], key: str) -> str:
    counts = [s[key] for r in method["rounds"] for s in r["sites"].values() if s.get(key) is not None]
    return format_bytes(sum(counts) / len(counts)) if counts else MISSING


def _rounds(method: dict[str, Any]) -> str:
    rows = []
    for entry in method["rounds"]:
        only = {"rounds": [entry]}
        losses = [s["train_loss"] for s in entry["sites"].values() if s.get("train_loss") is not None]
        seconds = MISSING if entry.get("seconds") is None else format_seconds(entry["seconds"])
        loss = f"{sum(losses) / len(losses):.4g}" if losses else MISSING
        cells = [seconds, loss, _traffic(only, "bytes_sent"), _traffic(only, "bytes_received")]
        rows.append((str(entry["round"] + 1), [Cell(text) for text in cells]))
    header = ("Round", "Time", "Training loss (mean of sites)", "Sent by a site", "Received by a site")
    return table("Rounds", header, rows, kind="") if rows else ""


def site_data(results: dict[str, Any], site: str) -> str:
    """What a site says of its own data, folded."""
    found = [m["sites"][site]["data"] for m in results["methods"].values() if m["sites"].get(site, {}).get("data")]
    return details("About this site's data", settings_table("As the site describes it", found[0])) if found else ""
