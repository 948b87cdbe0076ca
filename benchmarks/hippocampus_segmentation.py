# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of segmentation: IOP-FL and its baselines on six hippocampus sites, through FLARE.

python benchmarks/hippocampus_segmentation.py --seeds 0 1 2
python benchmarks/hippocampus_segmentation.py --slices labelled             # and training as in the paper
python benchmarks/hippocampus_segmentation.py --no-augmentation --loss dice # further options of jobs/iopfl/job.py
python benchmarks/hippocampus_segmentation.py --methods IOP-FL --leave_out site-3   # site-3 as an outside site
python benchmarks/hippocampus_segmentation.py --methods IOP-FL local-only --volumes 5  # training volumes a site
python benchmarks/hippocampus_segmentation.py --batch 4 --patch_size 32 64 64 --channels 8   # in 3D

FedAvg needs no run of its own: the global model of IOP-FL is FedAvg's, with the same seed number for number. Runs that
are complete in the workspace are not run again, so that a long benchmark can be stopped and continued.

The published code (one seed; 64x64, batch 16, 15 rounds) gave mean slice Dice 0.810 of the global and 0.882 of the
personal models at the five inside sites; at outside-1 0.872 of the global model and 0.888 after routing.
"""

import argparse
import json
import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from runs import JOBS, format_mean, is_complete, name_with, run_once

from flare_mri.config.where import default_workspace
from flare_mri.flare.recipes.follow import run_and_follow
from flare_mri.flare.recipes.simulate import results_path
from flare_mri.methods.systems import IOPFL_AS_PUBLISHED
from flare_mri.report.results import load_results
from flare_mri.routing.space import SPACE_FILE

OUTSIDE = "outside-1"
MORE = JOBS.parent / "examples" / "hippocampus_outside"
"""Further outside sites."""
STRATEGIES = ("published", "matched")
EPOCHS = 10
"""Of adaptation, as the job has them by default."""
SYSTEM = "IOP-FL"
GLOBAL, PERSONAL = "FedAvg = IOP-FL, global model", "IOP-FL, personal models"
METHODS = (SYSTEM, "local-only", "FedProx", "FedBN", "Ditto", "FedRep", "SCAFFOLD")
METRICS = ("slice_dice", "dice", "hd95", "false_slices")
PUBLISHED = {GLOBAL: 0.810, PERSONAL: 0.882, "global model": 0.872, "IOP-FL routing": 0.888}
Scores = dict[str, dict[str, float]]
"""Row of a table -> metric -> value."""


def describe(args: argparse.Namespace, seed: int) -> str:
    """What the names of all runs of these settings begin with."""
    name = f"hippocampus-{args.slices}" + (f"-without-{args.leave_out}" if args.leave_out else "")
    name += (f"-{args.volumes}-volumes" if args.volumes else "") + (f"-batch-{args.batch}" if args.batch else "")
    return name_with(f"{name}-{seed}", args.more)


def sites_with(args: argparse.Namespace, names: Iterable[str]) -> Path:
    """A folder of the sites' settings with the slices, volumes and batches that the benchmark is to take."""
    folder = args.workspace / f"sites-{args.slices}-{args.volumes or 'all'}-{args.batch or 'own'}"
    data = Path(os.environ.setdefault("FLARE_MRI_DATA", str((JOBS.parents[1] / "shared" / "data").absolute())))
    for name in names:
        source = next(found for parent in (args.sites, MORE) if (found := parent / name / "site.yaml").is_file())
        settings = yaml.safe_load(source.read_text())
        (folder / name).mkdir(parents=True, exist_ok=True)
        if args.slices == "labelled":
            settings["data"]["slices"] = "labelled"
        if args.batch:
            settings["batch_size"] = args.batch
        if args.volumes:
            rows = json.loads((data / "hippocampus" / name / "datalist.json").read_text())
            rows["training"] = rows.get("training", [])[: args.volumes]
            (folder / name / "datalist.json").write_text(json.dumps(rows))
            settings["data"]["datalist"] = "datalist.json"
        (folder / name / "site.yaml").write_text(yaml.safe_dump(settings))
    return folder


def inside_names(args: argparse.Namespace) -> list[str]:
    """Sites that train."""
    names = sorted(path.parent.name for path in args.sites.glob("*/site.yaml"))
    return [name for name in names if not name.startswith("outside") and name != args.leave_out]


def train(args: argparse.Namespace, method: str, seed: int) -> Path:
    """Train at the inside sites unless that was done; returns the results.json."""
    names = inside_names(args)
    folder = sites_with(args, names)
    arguments = ["--sites", str(folder), "--clients", ",".join(names), "--seed", str(seed), "--method", method]
    arguments += IOPFL_AS_PUBLISHED if args.slices == "labelled" else []
    arguments += ["--num_pools", str(args.num_pools), *args.more]
    name = f"{describe(args, seed)}-{method.lower()}"
    leaves = SPACE_FILE if method == SYSTEM else ""
    return run_once("iopfl", name, arguments, args.workspace, args.num_rounds, args.channels, leaves)


def route(args: argparse.Namespace, seed: int, trained: Path, site: str, strategy: str) -> Path:
    """Make an outside site's model unless that was done after the training; returns the results.json."""
    name = f"{describe(args, seed)}-at-{site}-{strategy}"
    name += f"-{args.epochs}-epochs" if strategy == "published" and args.epochs != EPOCHS else ""
    path = results_path(args.workspace, name)
    if is_complete(path, 0) and path.stat().st_mtime > trained.stat().st_mtime:
        print(f"\n{name}: already in {args.workspace}")
        return path
    arguments = ["--sites", str(sites_with(args, [site])), "--clients", site, "--seed", str(seed)]
    arguments += ["--strategy", strategy, "--epochs", str(args.epochs)]
    arguments += ["--routing_space", str((trained.parent / SPACE_FILE).absolute())]
    job = JOBS / "iopfl_outside" / "job.py"
    return run_and_follow(job, name, arguments, args.workspace, args.workspace / f"{name}.log")


def mean_over_sites(parts: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Mean of every metric over the test scores of sites."""
    tests = [part["test"] for part in parts]
    return {metric: statistics.mean(test.get(metric, 0.0) for test in tests) for metric in METRICS}


def inside_scores(method: str, path: Path) -> Scores:
    """The rows of a trained method."""
    sites = load_results(path)["methods"][method]["sites"].values()
    if method != SYSTEM:
        rows = {method: mean_over_sites(sites)}
        if all("personal" in site for site in sites):
            rows[f"{method}, personal models"] = mean_over_sites(site["personal"] for site in sites)
        return rows
    return {GLOBAL: mean_over_sites(sites), PERSONAL: mean_over_sites(site["personal"] for site in sites)}


def outside_scores(paths: Iterable[Path]) -> Scores:
    """The rows of an outside site, personal models as a mean and as the best of them, which nobody knows beforehand."""
    methods = {name: entry for path in paths for name, entry in load_results(path)["methods"].items()}
    rows = {name: mean_over_sites(entry["sites"].values()) for name, entry in methods.items()}
    personal = [rows.pop(name) for name in list(rows) if name.startswith("personal model of")]
    best = max(personal, key=lambda row: row["slice_dice"])
    mean = {metric: statistics.mean(row[metric] for row in personal) for metric in METRICS}
    return {"a personal model (mean)": mean, "the best personal model": best, **rows}


def table(title: str, seeds: list[Scores], published: dict[str, float]) -> str:
    """Mean and, over several seeds, standard deviation of every row."""
    lines = [
        title,
        f"{'':42s} {'published':>9s} {'slice Dice':>14s} {'Dice':>14s} {'HD95 (mm)':>14s} {'false slices':>14s}",
    ]
    for row in seeds[0]:
        cells = []
        for metric in METRICS:
            cells.append(format_mean([scores[row][metric] for scores in seeds], 2 if metric == "hd95" else 3))
        lines.append(f"{row:42s} {published.get(row, ''):>9} " + " ".join(f"{cell:>14s}" for cell in cells))
    return "\n".join(lines)


def collect(argv: Sequence[str] | None = None) -> tuple[list[Scores], dict[str, list[Scores]]]:
    """Run all seeds and methods that are not there yet and print the tables.

    Returns:
        The rows of the inside sites, by seed; and of each outside site.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--num_rounds", type=int, default=15)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--num_pools", type=int, default=4)
    parser.add_argument(
        "--slices", choices=("all", "labelled"), default="all", help="of the volumes; the paper: labelled"
    )
    parser.add_argument("--leave_out", choices=[f"site-{n}" for n in range(1, 6)], help="a site that does not train")
    parser.add_argument("--volumes", type=int, help="training volumes of a site, of 20")
    parser.add_argument("--batch", type=int, help="pieces in a training batch; default: the sites' 16")
    parser.add_argument("--outside", nargs="*", help=f"sites that did not train; default {OUTSIDE} outside-3")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of adaptation at an outside site; 0: none")
    parser.add_argument("--sites", type=Path, default=JOBS.parent / "examples" / "hippocampus")
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    args, args.more = parser.parse_known_args(argv)  # further options of job.py
    if args.outside is None:
        args.outside = [args.leave_out] if args.leave_out else [OUTSIDE, "outside-3"]
    args.workspace.mkdir(parents=True, exist_ok=True)
    inside: list[Scores] = []
    outside: dict[str, list[Scores]] = {}
    for seed in args.seeds:
        rows: Scores = {}
        for method in args.methods:
            path = train(args, method, seed)
            rows |= inside_scores(method, path)
            if method == SYSTEM:
                for name in args.outside:
                    routed = [route(args, seed, path, name, strategy) for strategy in args.strategies]
                    outside.setdefault(name, []).append(outside_scores(routed))
        inside.append(rows)
    seeds = f"seed{'s'[: len(args.seeds) > 1]} {', '.join(map(str, args.seeds))}"
    print("\n" + table(f"{len(inside_names(args))} inside sites, test volumes, {seeds}", inside, PUBLISHED))
    for name, scores in outside.items():
        print("\n" + table(f"{name}, all its slices, {seeds}", scores, PUBLISHED if name == OUTSIDE else {}))
    return inside, outside


if __name__ == "__main__":
    collect()
