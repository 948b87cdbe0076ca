# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind ``make demo``: FedMRI against its baselines on the phantom, with a report to look at."""

import argparse
import sys
import time
from pathlib import Path

from flare_mri.recipes.follow import run_and_follow
from flare_mri.recipes.simulate import default_workspace
from flare_mri.report.html import write_report
from flare_mri.report.results import load_results, merge_results, save_results, summary_table

JOB = Path(__file__).parent / "fedmri" / "job.py"
METHODS = ["local-only", "FedAvg", "FedMRI"]
SITES = [f"site-{i + 1}" for i in range(4)]


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
    arguments += [
        "--num_pools",
        "3",
        "--lr",
        "1e-3",
        "--lr_step",
        "0",
        "--negatives_dtype",
        "bfloat16",
        "--threads",
        "2",
    ]
    parts, stores = [], {}
    for method in METHODS:
        job = f"demo-{method.lower()}"
        log = args.output / f"{method}.log"
        parts.append(load_results(run_and_follow(JOB, job, method, arguments, args.workspace, log)))
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
