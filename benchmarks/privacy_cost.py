# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of privacy in dB and Dice, through FLARE.

python benchmarks/privacy_cost.py                       FLARE's filters, FedMRI on the phantom of `make demo`
python benchmarks/privacy_cost.py --dp reconstruction   DP-SGD at several ε: FedMRI on phantoms of 16 patients a site
python benchmarks/privacy_cost.py --dp segmentation     the same: FedAvg on hippocampi of 20 patients a site

Runs that are complete in the workspace are not run again, so that a benchmark can be stopped and continued. SVT's
noise has the scale 2 gamma / noise_var a released value, so a small noise_var is much noise. Noise is drawn anew in
every run, whatever the seed.
"""

import argparse
import json
import os
import runpy
import statistics
from pathlib import Path
from typing import Any

import yaml
from runs import JOBS, run_once

from flare_mri.config.where import default_workspace
from flare_mri.report.results import load_results

SCARCE_SITE: str = runpy.run_path(str(JOBS / "demo.py"))["SCARCE_SITE"]
SVT = {"fraction": 0.1, "epsilon": 1.0, "gamma": 0.01}
FILTERS = {
    "no filter": [],
    "percentile 90, gamma 0.01": ["percentile", {"percentile": 90, "gamma": 0.01}],
    **{f"svt, noise_var {noise}": ["svt", {**SVT, "noise_var": noise}] for noise in (100, 10, 1)},
}
PRIVATE = {
    "no privacy": [],
    "clipped, hardly any noise": ["--dp_noise_multiplier", "1e-4"],
    "ε 1000 for a patient": ["--dp_epsilon", "1000"],
    "ε 100 for a patient": ["--dp_epsilon", "100"],
    "ε 8 for a patient": ["--dp_epsilon", "8"],
    "ε 2 for a patient": ["--dp_epsilon", "2"],
}
UNTRAINED = {"hardly trained at all": ["--lr", "1e-9"]}
"""What a network gives that learned nothing: an unrolled one is data consistency."""
BY_SLICE = {"ε 8 for a slice": ["--dp_epsilon", "8", "--dp_unit", "slice"]}
MANY_PATIENTS = """\
data: {format: phantom, subjects: 22, coils: 4, spatial_size: [64, 64], slices: {step: 3}}
split: {train: 0.73, validation: 0.09, test: 0.18, by: volume}
batch_size: 8
"""
SITES = [f"site-{number + 1}" for number in range(4)]


def write_sites(folder: Path, settings: dict[str, str]) -> list[str]:
    """Write every site's site.yaml; returns the arguments of a job that names them."""
    for name, text in settings.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "site.yaml").write_text(text)
    return ["--sites", str(folder), "--clients", ",".join(settings)]


def hippocampus(workspace: Path, names: list[str]) -> list[str]:
    """Every third slice of the sites of examples/hippocampus."""
    os.environ.setdefault("FLARE_MRI_DATA", str((JOBS.parents[1] / "shared" / "data").absolute()))
    texts = {}
    for name in names:
        settings = yaml.safe_load((JOBS.parent / "examples" / "hippocampus" / name / "site.yaml").read_text())
        settings["data"] |= {"root": f"${{FLARE_MRI_DATA}}/hippocampus/{name}", "slices": {"step": 3}}
        texts[name] = yaml.safe_dump(settings)
    return write_sites(workspace / "privacy-sites-hippocampus", texts)


def plan(args: argparse.Namespace) -> tuple[str, list[str], dict[str, list[str]], int, int]:
    """Job, arguments of all runs, options of each, rounds and channels."""
    if args.dp is None:
        sites = write_sites(args.workspace / "privacy-sites-scarce", dict.fromkeys(SITES, SCARCE_SITE))
        options = {
            name: ["--privacy", given[0], "--privacy_arguments", json.dumps(given[1])] if given else []
            for name, given in FILTERS.items()
        }
        return "fedmri", [*sites, "--num_pools", "3", "--local_epochs", "2"], options, 15, 16
    if args.dp == "reconstruction":
        sites = write_sites(args.workspace / "privacy-sites-phantom", dict.fromkeys(SITES[:2], MANY_PATIENTS))
        more = ["--num_pools", "2", "--num_cascades", "2", "--no-augmentation"]
        return "fedmri", [*sites, *more], PRIVATE | BY_SLICE | UNTRAINED, 6, 8
    more = ["--method", "FedAvg", "--norm", "group", "--num_pools", "3"]
    return "iopfl", [*hippocampus(args.workspace, SITES[:2]), *more], PRIVATE | UNTRAINED, 6, 8


def mean_scores(run: dict[str, Any], metric: str) -> dict[str, float]:
    """Mean over sites: zero-filled where there is such a thing, best and last round, and the most ε spent."""
    sites = run["sites"].values()
    found = {
        "best round": statistics.mean(site["best"]["test"][metric] for site in sites),
        "last round": statistics.mean(site["test"][metric] for site in sites),
    }
    if all("zero_filled" in site for site in sites):
        found["zero-filled"] = statistics.mean(site["zero_filled"][metric] for site in sites)
    if all("privacy" in site for site in sites):
        found["ε spent"] = max(site["privacy"]["epsilon"] for site in sites)
    return found


def _show(column: str, scores: dict[str, float]) -> str:
    return f"{scores[column]:.3g}" if column == "ε spent" else f"{scores[column]:.3f}"


def main(argv: list[str] | None = None) -> None:
    """Run the settings that are not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dp", choices=["reconstruction", "segmentation"], help="DP-SGD; default: FLARE's filters")
    parser.add_argument("--settings", nargs="+", type=int, help="which of them, from 0; default: all")
    parser.add_argument("--num_rounds", type=int, help="default 15, with --dp 6")
    parser.add_argument("--channels", type=int, help="default 16, with --dp 8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    args = parser.parse_args(argv)
    args.workspace.mkdir(parents=True, exist_ok=True)
    job, arguments, options, rounds, channels = plan(args)
    rounds, channels = args.num_rounds or rounds, args.channels or channels
    metric = "slice_dice" if args.dp == "segmentation" else "psnr"
    rows = {}
    for number, (setting, flags) in enumerate(options.items()):
        if number in (args.settings or range(len(options))):
            name = f"privacy-{args.dp or 'filters'}-{args.seed}-{number}"
            given = [*arguments, *flags, "--seed", str(args.seed)]
            path = run_once(job, name, given, args.workspace, rounds, channels)
            rows[setting] = mean_scores(next(iter(load_results(path)["methods"].values())), metric)
    columns = ("zero-filled", "best round", "last round", "ε spent")
    print(f"\nMean test {'slice Dice' if metric == 'slice_dice' else 'PSNR (dB)'} over the sites, seed {args.seed}")
    print(f"{'':28s} " + " ".join(f"{column:>12s}" for column in columns))
    for setting, scores in rows.items():
        cells = [_show(c, scores) if c in scores else "" for c in columns]
        print(f"{setting:28s} " + " ".join(f"{cell:>12s}" for cell in cells))


if __name__ == "__main__":
    main()
