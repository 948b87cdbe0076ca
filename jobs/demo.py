# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The demonstrations behind ``make demo`` and ``make demo-iopfl``: a system against its baselines on the phantom.

Every method is a FLARE job in the simulator; the demonstration ends in a table and a report to look at.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from flare_mri.config.where import default_workspace
from flare_mri.flare.recipes.follow import run_and_follow
from flare_mri.flare.recipes.simulate import stores_path
from flare_mri.inference.personal_model import PERSONAL_FILE
from flare_mri.methods import METHODS
from flare_mri.methods.systems import IOPFL_AS_PUBLISHED
from flare_mri.report.examples import find_examples
from flare_mri.report.html import write_report
from flare_mri.report.results import load_results, merge_results, save_results, summary_table
from flare_mri.routing.space import SPACE_FILE

JOBS = Path(__file__).parent
OUTSIDE = "outside-1"
SCARCE_SITE = """\
# One subject to train on: what a federation is for. Small images keep the demonstration short.
data: {format: phantom, subjects: 4, spatial_size: [64, 64]}
split: {train: 0.25, validation: 0.25, test: 0.5, by: volume}
batch_size: 2
"""
FEW_SUBJECTS = """\
# Three subjects to train on, one to validate, two to test. Small images keep the demonstration short.
data: {format: phantom, subjects: 6, spatial_size: [64, 64]}
split: {train: 0.5, validation: 0.16, test: 0.34, by: volume}
batch_size: 2
"""


class Demonstration:
    """Runs jobs one after the other and gathers their results and the sites' pictures."""

    def __init__(self, args: argparse.Namespace, prefix: str):
        self.args, self.prefix = args, prefix
        self.parts: list[dict[str, Any]] = []
        self.stores: list[Path] = []

    def sites(self, names: list[str], site_yaml: str) -> list[str]:
        """Give the sites their `site.yaml`; returns the arguments of a job that name the sites."""
        folder = self.args.output / "sites"
        for name in names:
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / "site.yaml").write_text(site_yaml)
        return ["--sites", str(folder), "--clients", ",".join(names)]

    def run(self, job: str, label: str, arguments: list[str]) -> Path:
        """Run a job that `label` names; returns its results.json."""
        name = f"{self.prefix}-{label.lower()}"
        log = self.args.output / f"{label}.log"
        arguments = [*arguments, "--seed", str(self.args.seed)]
        path = run_and_follow(JOBS / job / "job.py", name, arguments, self.args.workspace, log)
        self.parts.append(load_results(path))
        self.stores.append(stores_path(self.args.workspace) / name)
        return path

    def finish(self, *metrics: str) -> None:
        """Write results.json and report.html, print the table."""
        results = merge_results(self.parts)
        save_results(results, self.args.output / "results.json")
        write_report(results, find_examples(results, self.stores), self.args.output / "report.html")
        print("\n" + summary_table(results, *metrics))
        print("\nEvery site's own model, for flare-mri reconstruct or segment:")
        for store in self.stores:
            print(f"  {store}/<site>/{PERSONAL_FILE}")


def fedmri(args: argparse.Namespace) -> None:
    """Classical reconstructions, local training, FedAvg and FedMRI, or the methods asked for, at some sites."""
    demonstration = Demonstration(args, "demo")
    arguments = demonstration.sites([f"site-{i + 1}" for i in range(args.n_clients)], SCARCE_SITE)
    arguments += ["--num_rounds", str(args.num_rounds), "--channels", str(args.channels), "--local_epochs", "2"]
    for number, method in enumerate(args.methods or ("local-only", "FedAvg", "FedMRI")):
        classical = [] if number else ["--classical"]  # once: they are the same for every method
        demonstration.run("fedmri", method, [*arguments, "--method", method, *classical])
    demonstration.finish()


def iopfl(args: argparse.Namespace) -> None:
    """Local training and IOP-FL, or the methods asked for, at some sites; then routing at one that did not train.

    FedAvg needs no run of its own: the global model of IOP-FL is FedAvg's.
    """
    demonstration = Demonstration(args, "demo-iopfl")
    arguments = demonstration.sites([f"site-{i + 1}" for i in range(args.n_clients)], FEW_SUBJECTS)
    arguments += ["--num_rounds", str(args.num_rounds), "--channels", str(args.channels), "--num_pools", "3"]
    arguments += IOPFL_AS_PUBLISHED  # random transforms want more steps than a few subjects give in a dozen rounds
    for method in args.methods or ("local-only", "IOP-FL"):
        path = demonstration.run("iopfl", method, [*arguments, "--method", method])
        if METHODS[method].gathers_personal_models:
            space = ["--routing_space", str(path.parent / SPACE_FILE)]
            demonstration.run("iopfl_outside", "outside", [*demonstration.sites([OUTSIDE], FEW_SUBJECTS), *space])
    demonstration.finish("slice_dice", "dice", "hd95")


DEMONSTRATIONS = {"fedmri": (fedmri, 8, 4), "iopfl": (iopfl, 12, 5)}


def main(argv: list[str] | None = None) -> int:
    """Run a demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", nargs="?", choices=DEMONSTRATIONS, default="fedmri")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="where results.json and report.html go")
    parser.add_argument("--workspace", type=Path, default=default_workspace(), help="FLARE's workspace (%(default)s)")
    parser.add_argument("--num_rounds", type=int, help="rounds of training (default: 8, of iopfl 12)")
    parser.add_argument("--n_clients", type=int, help="sites that train (default: 4, of iopfl 5)")
    parser.add_argument("--channels", type=int, default=16, help="channels of the first level of the U-Nets")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="methods to compare (default: see above)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    demonstrate, rounds, sites = DEMONSTRATIONS[args.system]
    args.num_rounds, args.n_clients = args.num_rounds or rounds, args.n_clients or sites
    args.output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    demonstrate(args)
    print(f"\n{time.monotonic() - started:.0f} s. Open {args.output / 'report.html'} in a browser.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
