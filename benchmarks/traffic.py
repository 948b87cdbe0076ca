# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a round of FedMRI moves over the wire, and what rounding it costs in dB: four real sites, through FLARE.

    python benchmarks/traffic.py                     the published setting: 128x128, 30 rounds, seed 0
    python benchmarks/traffic.py --num_rounds 10 --seeds 0 1 2

Bytes are those of a site's last round, by the tensors of its messages. Runs that are complete in the workspace are not
run again.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from runs import JOBS, PUBLISHED_SETTING, format_mean, run_once

from flare_mri.config.where import default_workspace
from flare_mri.report.results import load_results

ALL = ["--method", "FedMRI", "--negatives", "all"]
SETTINGS = {
    "FedAvg": ["--method", "FedAvg"],
    "FedAvg, updates in int8": ["--method", "FedAvg", "--update_dtype", "int8"],
    "FedMRI, own negatives": ["--method", "FedMRI"],
    "FedMRI, all negatives": ALL,
    "the same in bfloat16": [*ALL, "--negatives_dtype", "bfloat16"],
    "the same in int8": [*ALL, "--negatives_dtype", "int8"],
    "the same, two of them": [*ALL, "--negatives_dtype", "int8", "--most_negatives", "2"],
    "the same, updates in int8": [*ALL, "--negatives_dtype", "int8", "--update_dtype", "int8"],
}


def measure(args: argparse.Namespace, place: int, seed: int) -> tuple[float, float, float]:
    """Megabytes that a site receives and sends in the last round, and mean test PSNR (dB) after it."""
    arguments = ["--sites", str(args.sites), "--seed", str(seed), *PUBLISHED_SETTING, "--lr_step", "0"]
    arguments += ["--no-augmentation", *list(SETTINGS.values())[place]]
    name = f"traffic-{place}-{seed}-{args.num_rounds}"
    path = run_once("fedmri", name, arguments, args.workspace, args.num_rounds, args.channels)
    (run,) = load_results(path)["methods"].values()
    last = run["rounds"][-1]["sites"].values()
    received, sent = (max(site[key] for site in last) / 1e6 for key in ("bytes_received", "bytes_sent"))
    return received, sent, statistics.mean(site["test"]["psnr"] for site in run["sites"].values())


def main(argv: Sequence[str] | None = None) -> None:
    """Run the settings and seeds that are not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", type=int, default=list(range(len(SETTINGS))), help="which, from 0")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--num_rounds", type=int, default=30)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--sites", type=Path, default=JOBS.parent / "examples" / "brain")
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    args = parser.parse_args(argv)
    args.workspace.mkdir(parents=True, exist_ok=True)
    names = list(SETTINGS)
    rows = {names[place]: [measure(args, place, seed) for seed in args.seeds] for place in args.settings}
    of_fedavg = rows["FedAvg"][0][0] if "FedAvg" in rows else 0.0
    print(
        f"\n{'seeds ' + str(args.seeds):28s} {'MB received':>12s} {'of FedAvg':>10s} {'MB sent':>8s} {'PSNR (dB)':>14s}"
    )
    for name, runs in rows.items():
        received, sent, _ = runs[0]
        ratio = f"{received / of_fedavg:.2f}" if of_fedavg else ""
        print(f"{name:28s} {received:12.1f} {ratio:>10s} {sent:8.1f} {format_mean([run[2] for run in runs], 2):>14s}")


if __name__ == "__main__":
    main()
