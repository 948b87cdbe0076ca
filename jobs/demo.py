# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind ``make demo``: FedMRI against its baselines on the phantom, with a report to look at."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from flare_mri.recipes.simulate import default_workspace, results_path
from flare_mri.report.html import write_report
from flare_mri.report.results import load_results, merge_results, save_results, summary_table

JOB = Path(__file__).parent / "fedmri" / "job.py"
METHODS = ["local-only", "FedAvg", "FedMRI"]
SITES = [f"site-{i + 1}" for i in range(4)]


def run_method(method: str, arguments: list[str], workspace: Path, log: Path) -> Path:
    """Run one job in the simulator, a line of progress a round; returns its results.json.

    Raises:
        SystemExit: the job failed; the message holds the end of its log.
    """
    name = f"demo-{method.lower()}"
    results = results_path(workspace, name)
    results.unlink(missing_ok=True)
    command = [sys.executable, str(JOB), "--method", method, "--name", name, "--workspace", str(workspace), *arguments]
    print(f"\n{method}: FLARE starts four sites (log: {log})", flush=True)
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        try:
            shown = 0
            while process.poll() is None:
                shown = _show_progress(results, method, shown)
                time.sleep(0.3)
        finally:
            if process.poll() is None:
                process.terminate()
    _show_progress(results, method, shown)
    if process.returncode or not results.exists():
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise SystemExit(f"{method} failed with status {process.returncode}; the end of {log}:\n{tail}")
    return results


def _show_progress(path: Path, method: str, shown: int) -> int:
    """Print the rounds that results.json has and the screen has not."""
    if not path.exists():
        return shown
    run = json.loads(path.read_text())["methods"][method]
    for row in run["rounds"][shown:]:
        losses = [site["train_loss"] for site in row["sites"].values()]
        print(
            f"  {method} round {row['round'] + 1:2d}/{run['settings']['num_rounds']}  {row['seconds']:5.1f} s  "
            f"mean training loss {sum(losses) / len(losses):.4f}",
            flush=True,
        )
    return len(run["rounds"])


def main(argv: list[str] | None = None) -> int:
    """Run the methods one after the other, then write table and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="where results.json and report.html go")
    parser.add_argument("--workspace", type=Path, default=default_workspace(), help="FLARE's workspace (%(default)s)")
    parser.add_argument("--num_rounds", type=int, default=20)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    arguments = ["--num_rounds", str(args.num_rounds), "--channels", str(args.channels), "--seed", str(args.seed)]
    arguments += ["--num_pools", "3", "--lr_step", "0", "--negatives_dtype", "bfloat16", "--threads", "2"]
    parts, stores = [], {}
    for method in METHODS:
        log = args.output / f"{method}.log"
        parts.append(load_results(run_method(method, arguments, args.workspace, log)))
        job = f"demo-{method.lower()}"
        root = args.workspace / job
        stores[method] = {site: root / site / "site_store" / job / site / "examples.npz" for site in SITES}
    results = merge_results(parts)
    save_results(results, args.output / "results.json")
    write_report(results, stores, args.output / "report.html")
    print("\n" + summary_table(results))
    print(f"\n{time.monotonic() - started:.0f} s. Open {args.output / 'report.html'} in a browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
