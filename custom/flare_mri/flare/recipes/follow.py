# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A line a round of a job that runs, in the simulator or in a consortium."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_mri.flare.recipes.simulate import results_path
from flare_mri.metrics.metric_table import metrics_in


def run_and_follow(job: Path, name: str, arguments: Sequence[str], workspace: Path, log: Path) -> Path:
    """Run a job in the simulator.

    Args:
        job: its ``job.py``.
        name: name of the job, also of its folder in the workspace.
        arguments: further arguments of the ``job.py``.
        workspace: FLARE's workspace; the job's folder in it is replaced.
        log: where everything FLARE prints goes.

    Returns:
        Its results.json.

    Raises:
        SystemExit: the job failed; the message holds the end of its log.
    """
    results = results_path(workspace, name)
    results.unlink(missing_ok=True)
    command = [sys.executable, str(job), "--name", name, "--workspace", str(workspace), *arguments]
    print(f"\n{name}: FLARE starts the sites (log: {log})", flush=True)
    shown = 0
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                shown = show_progress(results, name, shown)
                time.sleep(0.3)
        finally:
            if process.poll() is None:
                process.terminate()
    show_progress(results, name, shown)
    if process.returncode or not results.exists():
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise SystemExit(f"{name} failed with status {process.returncode}; the end of {log}:\n{tail}")
    return results


def show_progress(path: Path, name: str, shown: int) -> int:
    """Print the rounds that results.json has and the screen has not; returns the number of the next one."""
    if not path.exists():
        return shown
    run = next(iter(json.loads(path.read_text())["methods"].values()))
    return show_rounds(run["rounds"], run["settings"]["num_rounds"], name, shown)


def show_rounds(rounds: Sequence[Mapping[str, Any]], num_rounds: int, name: str, shown: int) -> int:
    """Print a line for each round from number `shown` on.

    A site validates a model when it receives it, so that a round's score is known after the next one.

    Args:
        rounds: of an entry of results.json, all or the last ones.
        num_rounds: of the job.
        name: of the job.
        shown: number of the first round to print, from 0.

    Returns:
        Number of the round to print next.
    """
    scores = {row["round"]: _score(row) for row in rounds}
    for row in rounds:
        number = row["round"]
        if number < shown:
            continue
        losses = [site["train_loss"] for site in row["sites"].values() if site.get("train_loss") is not None]
        spent = [site["epsilon"] for site in row["sites"].values() if site.get("epsilon") is not None]
        loss = f"mean training loss {sum(losses) / len(losses):.4f}" if losses else "no training loss"
        loss += f", most ε spent {max(spent):.3g}" if spent else ""
        left_out = f"; left out: {', '.join(row['left_out'])}" if row.get("left_out") else ""
        told = f"  {name} round {number + 1:2d}/{num_rounds}  {row['seconds']:5.1f} s  {loss}"
        print(f"{told}{scores.get(number - 1, '')}{left_out}", flush=True)
        shown = number + 1
    return shown


def _score(row: Mapping[str, Any]) -> str:
    """Mean of the main metric on the sites' validation slices, in words; empty where none was validated."""
    found = [site["validation"] for site in row["sites"].values() if site.get("validation")]
    for metric in metrics_in(found[0]) if found else ():
        values = [scores[metric.key] for scores in found if scores.get(metric.key) is not None]
        if values:
            mean = metric.quantity(sum(values) / len(values))
            return f", validation {metric.name} {mean} after round {row['round'] + 1}"
    return ""
