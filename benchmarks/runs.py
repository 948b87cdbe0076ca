# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of a benchmark: trained once, found again when the benchmark is continued, shown as mean and spread."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flare_mri.errors import InputError
from flare_mri.flare.recipes.follow import run_and_follow
from flare_mri.flare.recipes.simulate import results_path
from flare_mri.report.results import load_results

JOBS = Path(__file__).parents[1] / "jobs"
PUBLISHED_SETTING = ["--network", "UNet", "--optimizer", "rmsprop", "--lr", "3e-4", "--loss", "mse"]
PUBLISHED_SETTING += ["--lr_schedule", "step", "--lr_gamma", "0.1"]
"""Arguments of jobs/fedmri that train as the published code does, but for what a benchmark varies."""


def name_with(name: str, more: Sequence[str]) -> str:
    """The name of a run that has further options of job.py: another than without them, so that neither is the other."""
    return "-".join([name, *filter(None, (re.sub(r"[^a-z0-9.]+", "-", word.lower()).strip("-") for word in more))])


def is_complete(path: Path, rounds: int, channels: int | None = None) -> bool:
    """Whether a run with these settings has left all its scores."""
    try:
        entries = load_results(path)["methods"].values()
    except InputError:  # not there, or left by a run that was stopped
        return False
    scored = all(site.get("test") for entry in entries for site in entry["sites"].values())
    if not entries or not scored or any(len(entry["rounds"]) != rounds for entry in entries):
        return False
    return channels is None or all(_channels(entry["settings"]["network"]["args"]) == channels for entry in entries)


def _channels(args: dict[str, Any]) -> int:
    """Of the first level of a U-Net, or of those of an unrolled network."""
    return int(args.get("regulariser_args", args)["channels"])


def run_once(
    job: str, name: str, arguments: Sequence[str], workspace: Path, rounds: int, channels: int, leaves: str = ""
) -> Path:
    """The results.json of a job in the simulator, which is not run again where it is complete.

    Args:
        job: folder of the job under ``jobs``.
        name: of this run.
        arguments: of its ``job.py``, besides those below.
        workspace: FLARE's workspace; the run's log lies in it too.
        rounds: rounds of training.
        channels: of the U-Net's first level.
        leaves: a file beside results.json without which the run is not complete.
    """
    path = results_path(workspace, name)
    if is_complete(path, rounds, channels) and (path.parent / leaves).exists():
        print(f"\n{name}: already in {workspace}")
        return path
    arguments = [*arguments, "--num_rounds", str(rounds), "--channels", str(channels)]
    return run_and_follow(JOBS / job / "job.py", name, arguments, workspace, workspace / f"{name}.log")


def format_mean(values: Sequence[float], digits: int) -> str:
    """Mean and, of several values, standard deviation."""
    spread = f" ±{statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"
