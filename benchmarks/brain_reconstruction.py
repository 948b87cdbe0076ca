# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The table of reconstruction: FedMRI and the methods it is judged against on four real sites, through FLARE.

python benchmarks/brain_reconstruction.py                     the published setting: 128x128, 30 rounds, seed 0
python benchmarks/brain_reconstruction.py --augmentation      the same with the task's random transforms
python benchmarks/brain_reconstruction.py --network UnrolledNetwork --augmentation      the job's default network
python benchmarks/brain_reconstruction.py --seeds 0 1 2       mean and spread over seeds

Runs that are complete in the workspace are not run again, so that a long benchmark can be stopped and continued.

The published code (one seed, two cores) gave mean test PSNR 23.79 dB zero-filled, 26.68 FedAvg, 27.29 local only and
28.16 FedMRI with β = 1, of the model after the last round. The sites set no validation slices aside, so "best round" is
chosen on the test slices themselves and is reported apart.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from runs import JOBS, PUBLISHED_SETTING, format_mean, name_with, run_once

from flare_mri.config.cli import add_options
from flare_mri.config.where import default_workspace
from flare_mri.methods.fedmri import FedMRIOptions
from flare_mri.report.results import load_results

UNROLLED = "UnrolledNetwork"
PUBLISHED = {"FedMRI": 28.16, "FedAvg": 26.68, "local-only": 27.29}
OTHERS = ("encoder-sharing", "FedProx", "FedBN", "Ditto", "FedRep", "SCAFFOLD")


def mean_psnr(run: dict[str, Any]) -> dict[str, float]:
    """Mean over sites: zero-filled, after the last round, mean of the last five rounds, best round of each site."""
    sites, rounds = run["sites"], run["rounds"]
    late = [statistics.mean(row["sites"][s]["validation"]["psnr"] for s in sites) for row in rounds[-5:]]
    personal = [site["personal"]["test"]["psnr"] for site in sites.values() if "personal" in site]
    return {
        "zero-filled": statistics.mean(site["zero_filled"]["psnr"] for site in sites.values()),
        "last round": statistics.mean(site["test"]["psnr"] for site in sites.values()),
        "last five": statistics.mean(late),
        "best round": statistics.mean(site["best"]["test"]["psnr"] for site in sites.values()),
        **({"personal": statistics.mean(personal)} if personal else {}),
    }


def train(args: argparse.Namespace, method: str, seed: int) -> dict[str, float]:
    """The scores of one method with one seed."""
    unrolled = args.network == UNROLLED
    arguments = ["--sites", str(args.sites), "--seed", str(seed), "--method", method]
    arguments += [] if unrolled else [*PUBLISHED_SETTING, "--lr_step", "0"]
    arguments += ["--augmentation" if args.augmentation else "--no-augmentation"]
    arguments += ["--norm", "batch"] if method == "FedBN" else []
    if method == "FedMRI":
        arguments += ["--contrastive_weight", str(args.contrastive_weight), "--negatives", args.negatives]
    arguments += args.more
    name = f"brain-{method.lower()}-{seed}" + "-augmented" * args.augmentation + "-unrolled" * unrolled
    name = name_with(name, args.more)
    channels = args.channels or (16 if unrolled else 32)
    path = run_once("fedmri", name, arguments, args.workspace, args.num_rounds, channels)
    return mean_psnr(load_results(path)["methods"][method])


def main(argv: list[str] | None = None) -> None:
    """Run the methods and seeds that are not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    methods = (*PUBLISHED, *OTHERS)
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(methods), metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--num_rounds", type=int, default=30)
    parser.add_argument("--network", choices=["UNet", UNROLLED], default="UNet", help="UNet: the published setting")
    parser.add_argument("--channels", type=int, help="of the first level; default 32, of each cascade 16")
    add_options(parser, FedMRIOptions, ["contrastive_weight", "negatives"], {"negatives": "all"})
    parser.set_defaults(contrastive_weight=FedMRIOptions().contrastive_weight, negatives="all")
    parser.add_argument("--sites", type=Path, default=JOBS.parent / "examples" / "brain")
    parser.add_argument("--augmentation", action="store_true", help="train on randomly transformed slices")
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    args, args.more = parser.parse_known_args(argv)  # further options of job.py
    args.workspace.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, float]]] = {method: [] for method in args.methods}
    for seed in args.seeds:
        for method in args.methods:
            rows[method].append(train(args, method, seed))
    columns = ("zero-filled", "last round", "last five", "best round", "personal")
    state = "on" if args.augmentation else "off"
    print(f"\nMean test PSNR (dB) over the sites, {args.network}, seeds {args.seeds}, augmentation {state}")
    print(f"{'method':16s} {'published':>10s} " + " ".join(f"{column:>16s}" for column in columns))
    for method, values in rows.items():
        cells = [format_mean([v[column] for v in values], 2) if column in values[0] else "" for column in columns]
        print(f"{method:16s} {PUBLISHED.get(method, ''):>10} " + " ".join(f"{cell:>16s}" for cell in cells))


if __name__ == "__main__":
    main()
