# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The README's table of segmentation: IOP-FL inside and outside on six hippocampus sites, through FLARE.

python benchmarks/hippocampus_segmentation.py --seeds 0 1 2

The published code (one seed, two cores; 64x64, batch 16, 15 rounds) gave mean slice Dice 0.810 of the global and 0.882
of the personal models at the five inside sites; at outside-1 0.872 of the global model and 0.888 after routing.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from flare_mri.recipes.simulate import default_workspace, results_path
from flare_mri.report.results import load_results

REPO = Path(__file__).parents[1]
OUTSIDE = "outside-1"
PUBLISHED = {
    "inside: global model": 0.810,
    "inside: personal model": 0.882,
    "outside: global model": 0.872,
    "outside: routing": 0.888,
}


def scores(workspace: Path, name: str) -> dict[str, float]:
    """Mean slice Dice of one run, by model."""
    inside = load_results(results_path(workspace, f"{name}-without-{OUTSIDE}"))["methods"]["IOP-FL"]["sites"].values()
    outside = load_results(results_path(workspace, f"{name}-outside-{OUTSIDE}"))["methods"]
    routed = {method: entry["sites"][OUTSIDE]["test"]["slice_dice"] for method, entry in outside.items()}
    return {
        "inside: global model": statistics.mean(site["test"]["slice_dice"] for site in inside),
        "inside: personal model": statistics.mean(site["personal"]["test"]["slice_dice"] for site in inside),
        "outside: global model": routed["global model"],
        "outside: mean of all predictions": routed["mean of all predictions"],
        "outside: best personal model": max(v for method, v in routed.items() if method.startswith("personal")),
        "outside: routing": routed["IOP-FL routing"],
    }


def main() -> None:
    """Run all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--num_rounds", type=int, default=15)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--sites", type=Path, default=REPO / "examples" / "hippocampus")
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        name = f"hippocampus-{seed}"
        command = [sys.executable, str(REPO / "jobs" / "iopfl" / "job.py"), "--sites", str(args.sites)]
        command += ["--outside", OUTSIDE, "--name", name, "--workspace", str(args.workspace), "--seed", str(seed)]
        command += ["--num_rounds", str(args.num_rounds), "--channels", str(args.channels), "--no-test_each_round"]
        subprocess.run(command, check=True)
        rows.append(scores(args.workspace, name))
    print(f"\nMean slice Dice, seeds {args.seeds}\n{'model':34s} {'published':>9s} {'here':>16s}")
    for model in rows[0]:
        values = [row[model] for row in rows]
        spread = f" ±{statistics.stdev(values):.3f}" if len(values) > 1 else ""
        print(f"{model:34s} {PUBLISHED.get(model, ''):>9} {statistics.mean(values):.3f}{spread:>10s}")


if __name__ == "__main__":
    main()
