# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of FLARE's privacy filters for FedMRI in dB, on the phantom of `make demo`, through FLARE.

    python benchmarks/privacy_cost.py

SVT's noise has the scale 2 gamma / noise_var a released value, so a small noise_var is much noise. It draws its noise
anew in every run, whatever the seed.
"""

import argparse
import json
import runpy
import statistics
from pathlib import Path

from flare_mri.flare.recipes.follow import run_and_follow
from flare_mri.flare.recipes.simulate import default_workspace
from flare_mri.report.results import load_results

REPO = Path(__file__).parents[1]
SCARCE_SITE: str = runpy.run_path(str(REPO / "jobs" / "demo.py"))["SCARCE_SITE"]

SETTINGS = {
    "no filter": [],
    "percentile 90, gamma 0.01": ["percentile", {"percentile": 90, "gamma": 0.01}],
    "svt, noise_var 100": ["svt", {"fraction": 0.1, "epsilon": 1.0, "gamma": 0.01, "noise_var": 100}],
    "svt, noise_var 10": ["svt", {"fraction": 0.1, "epsilon": 1.0, "gamma": 0.01, "noise_var": 10}],
    "svt, noise_var 1": ["svt", {"fraction": 0.1, "epsilon": 1.0, "gamma": 0.01, "noise_var": 1}],
}


def main() -> None:
    """Run all settings and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", type=int, default=list(range(len(SETTINGS))), help="which of them")
    parser.add_argument("--num_rounds", type=int, default=15)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    parser.add_argument("--output", type=Path, default=Path("results"))
    args = parser.parse_args()
    folder = args.output / "sites"
    for number in range(4):
        (folder / f"site-{number + 1}").mkdir(parents=True, exist_ok=True)
        (folder / f"site-{number + 1}" / "site.yaml").write_text(SCARCE_SITE)
    arguments = ["--sites", str(folder), "--num_rounds", str(args.num_rounds), "--channels", str(args.channels)]
    arguments += ["--num_pools", "3", "--local_epochs", "2", "--seed", str(args.seed)]
    rows = {}
    for number, (setting, privacy) in enumerate(SETTINGS.items()):
        if number not in args.settings:
            continue
        flags = ["--privacy", privacy[0], "--privacy_arguments", json.dumps(privacy[1])] if privacy else []
        name = f"privacy-{number}"
        log = args.output / f"{name}.log"
        path = run_and_follow(REPO / "jobs" / "fedmri" / "job.py", name, [*arguments, *flags], args.workspace, log)
        sites = load_results(path)["methods"]["FedMRI"]["sites"].values()
        best = statistics.mean(site["best"]["test"]["psnr"] for site in sites)
        rows[setting] = best, statistics.mean(site["test"]["psnr"] for site in sites)
    print(f"\nMean test PSNR (dB) over four sites, seed {args.seed}\n{'':28s} {'best round':>10s} {'last round':>10s}")
    for setting, (best, last) in rows.items():
        print(f"{setting:28s} {best:10.2f} {last:10.2f}")


if __name__ == "__main__":
    main()
