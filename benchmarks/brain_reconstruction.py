# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The README's table of reconstruction: FedMRI, FedAvg and local training on four real sites, through FLARE.

python benchmarks/brain_reconstruction.py                the published setting: 128x128, 30 rounds, seed 0
python benchmarks/brain_reconstruction.py --seeds 0 1 2  mean and spread over seeds

The published code (one seed, two cores) gave mean test PSNR 23.79 dB zero-filled, 26.68 FedAvg, 27.29 local only and
28.16 FedMRI with β = 1, of the model after the last round. The sites set no validation slices aside, so "best round" is
chosen on the test slices themselves and is reported apart.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from flare_mri.config.cli import add_options
from flare_mri.flare.recipes.follow import run_and_follow
from flare_mri.flare.recipes.simulate import default_workspace
from flare_mri.methods.fedmri import FedMRIOptions
from flare_mri.report.results import load_results

REPO = Path(__file__).parents[1]
PUBLISHED = {"FedMRI": 28.16, "FedAvg": 26.68, "local-only": 27.29}


def mean_psnr(run: dict[str, Any]) -> dict[str, float]:
    """Mean over sites: zero-filled, after the last round, mean of the last five rounds, best round of each site."""
    sites, rounds = run["sites"], run["rounds"]
    late = [statistics.mean(row["sites"][s]["validation"]["psnr"] for s in sites) for row in rounds[-5:]]
    return {
        "zero-filled": statistics.mean(site["zero_filled"]["psnr"] for site in sites.values()),
        "last round": statistics.mean(site["test"]["psnr"] for site in sites.values()),
        "last five": statistics.mean(late),
        "best round": statistics.mean(site["best"]["test"]["psnr"] for site in sites.values()),
    }


def main() -> None:
    """Run methods x seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(PUBLISHED))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--num_rounds", type=int, default=30)
    parser.add_argument("--channels", type=int, default=32)
    add_options(parser, FedMRIOptions, ["contrastive_weight", "negatives"], {"negatives": "all"})
    parser.set_defaults(contrastive_weight=FedMRIOptions().contrastive_weight, negatives="all")
    parser.add_argument("--sites", type=Path, default=REPO / "examples" / "brain")
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    parser.add_argument("--output", type=Path, default=Path("results"), help="where results.json of every run goes")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in args.seeds:
        for method in args.methods:
            arguments = ["--sites", str(args.sites), "--num_rounds", str(args.num_rounds), "--lr_step", "0"]
            arguments += ["--channels", str(args.channels), "--seed", str(seed)]
            if method == "FedMRI":
                arguments += ["--contrastive_weight", str(args.contrastive_weight), "--negatives", args.negatives]
            name = f"brain-{method.lower()}-{seed}"
            job = REPO / "jobs" / "fedmri" / "job.py"
            path = run_and_follow(
                job, name, [*arguments, "--method", method], args.workspace, args.output / f"{name}.log"
            )
            (args.output / f"{name}.json").write_bytes(path.read_bytes())
            rows.setdefault(method, []).append(mean_psnr(load_results(path)["methods"][method]))
    print(f"\nMean test PSNR (dB) over the sites, seeds {args.seeds}")
    print(f"{'method':12s} {'published':>10s} " + " ".join(f"{column:>16s}" for column in rows[args.methods[0]][0]))
    for method, values in rows.items():
        cells = []
        for column in values[0]:
            numbers = [value[column] for value in values]
            spread = f" ±{statistics.stdev(numbers):.2f}" if len(numbers) > 1 else ""
            cells.append(f"{statistics.mean(numbers):.2f}{spread}")
        published = PUBLISHED.get(method)
        print(f"{method:12s} {published or '':>10} " + " ".join(f"{cell:>16s}" for cell in cells))


if __name__ == "__main__":
    main()
