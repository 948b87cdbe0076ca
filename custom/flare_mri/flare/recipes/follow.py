# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Run a job.py in FLARE's simulator, with a line of progress a round instead of FLARE's log."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flare_mri.flare.recipes.simulate import results_path


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
    """Print the rounds that results.json has and the screen has not."""
    if not path.exists():
        return shown
    run = next(iter(json.loads(path.read_text())["methods"].values()))
    for row in run["rounds"][shown:]:
        losses = [site["train_loss"] for site in row["sites"].values() if site["train_loss"] is not None]
        spent = [site["epsilon"] for site in row["sites"].values() if site.get("epsilon") is not None]
        told = f"  mean training loss {sum(losses) / len(losses):.4f}" if losses else ""
        told += f"  most ε spent {max(spent):.3g}" if spent else ""
        rounds = run["settings"]["num_rounds"]
        print(f"  {name} round {row['round'] + 1:2d}/{rounds}  {row['seconds']:5.1f} s{told}", flush=True)
    return len(run["rounds"])
