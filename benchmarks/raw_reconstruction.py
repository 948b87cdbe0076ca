# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The table of raw multi-coil k-space: unrolled networks in a federation against classical reconstructions.

python benchmarks/raw_reconstruction.py                              three hospitals of examples/raw, 30 rounds, seed 0
python benchmarks/raw_reconstruction.py --methods --seeds 0          the classical reconstructions alone

Zero-filled, CG-SENSE and l1-ESPIRiT see the test slices, masks and coil sensitivities of the networks; the weight of
each is the best of a few on the training slices. Runs that are complete in the workspace are not run again, so that a
long benchmark can be stopped and continued. The sites set no validation slices aside: scores are those of the model
after the last round. Needs the extra `raw`.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from runs import JOBS, format_mean, is_complete
from torch import Tensor

from flare_mri.config.site import load_site_config
from flare_mri.datasets.reconstruction import ReconstructionData, ReconstructionDataset
from flare_mri.flare.recipes.follow import run_and_follow
from flare_mri.flare.recipes.simulate import default_workspace, results_path
from flare_mri.metrics.reconstruction import VolumeMetrics
from flare_mri.physics.classical import cg_sense, l1_wavelet
from flare_mri.report.results import load_results

METHODS = ("local-only", "FedMRI", "encoder-sharing", "FedAvg")
WEIGHTS = {"CG-SENSE": (0.001, 0.003, 0.01, 0.03, 0.1), "l1-ESPIRiT": (0.001, 0.003, 0.01, 0.02)}
SOLVERS: dict[str, Callable[..., Tensor]] = {"CG-SENSE": cg_sense, "l1-ESPIRiT": l1_wavelet}
SOME = 4  # training slices that choose a weight

Scores = dict[str, float]


def score(dataset: ReconstructionDataset, places: Iterable[int], make: Callable[[dict[str, Any]], Tensor]) -> Scores:
    """Metrics of images [1, H, W] that `make` gives of samples, against their targets, by volume."""
    metrics = VolumeMetrics()
    for place in places:
        sample = dataset[place]
        target = (sample["target"] * sample["scale"] + sample["offset"])[0].numpy()
        image = (make(sample) * sample["scale"])[0].numpy()
        metrics.add(sample["volume"], image, target, float(sample["max"]) if "max" in sample else None)
    return metrics.aggregate()


def solve(name: str, weight: float) -> Callable[[dict[str, Any]], Tensor]:
    """A classical reconstruction of one sample."""

    def make(sample: dict[str, Any]) -> Tensor:
        arguments = (sample[key][None] for key in ("kspace", "mask", "sensitivities"))
        return SOLVERS[name](*arguments, penalty=weight)[0].abs()

    return make


def find_classical(sites: Path, names: list[str]) -> dict[str, dict[str, Scores]]:
    """Test scores by method and site."""
    found: dict[str, dict[str, Scores]] = {name: {} for name in ("zero-filled", *names)}
    for path in sorted(sites.glob("*/site.yaml")):
        site = path.parent.name
        data = ReconstructionData(load_site_config(path, site), 0, ("kspace", "mask", "sensitivities"))
        everything = range(len(data.test))
        shifted = score(data.test, everything, lambda sample: sample["image"] + sample["offset"] / sample["scale"])
        found["zero-filled"][site] = shifted
        some = torch.linspace(0, len(data.train) - 1, SOME).long().tolist()
        for name in names:
            tried = {weight: score(data.train, some, solve(name, weight))["psnr"] for weight in WEIGHTS[name]}
            best = max(tried, key=lambda weight: tried[weight])
            found[name][site] = score(data.test, everything, solve(name, best))
            print(f"{site}: {name}, weight {best:g}: PSNR {found[name][site]['psnr']:.2f} dB", flush=True)
    return found


def train(args: argparse.Namespace, method: str, seed: int) -> dict[str, Scores]:
    """Test scores of a method by site, after the last round."""
    name = f"raw-{method.lower()}-{seed}"
    path = results_path(args.workspace, name)
    if not is_complete(path, args.num_rounds):
        arguments = ["--sites", str(args.sites), "--method", method, "--seed", str(seed)]
        arguments += ["--num_rounds", str(args.num_rounds), *args.more]
        run_and_follow(JOBS / "fedmri" / "job.py", name, arguments, args.workspace, args.workspace / f"{name}.log")
    sites = load_results(path)["methods"][method]["sites"]
    return {site: values["test"] for site, values in sites.items()}


def main(argv: list[str] | None = None) -> None:
    """Run the methods and seeds that are not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--classical", nargs="*", choices=SOLVERS, default=list(SOLVERS), metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--num_rounds", type=int, default=30)
    parser.add_argument("--sites", type=Path, default=JOBS.parent / "examples" / "raw")
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    args, args.more = parser.parse_known_args(argv)  # further options of job.py
    args.workspace.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Scores]]] = {
        name: [found] for name, found in find_classical(args.sites, args.classical).items()
    }
    for seed in args.seeds:
        for method in args.methods:
            rows.setdefault(method, []).append(train(args, method, seed))
    sites = list(rows["zero-filled"][0])
    print(f"\nTest PSNR (dB) / SSIM, seeds {args.seeds}, {args.num_rounds} rounds")
    print(f"{'':16s} " + " ".join(f"{site:>16s}" for site in [*sites, "mean"]))
    for name, runs in rows.items():
        columns = [[run[site] for run in runs] for site in sites]
        columns.append([{key: statistics.mean(run[s][key] for s in sites) for key in ("psnr", "ssim")} for run in runs])
        cells = [
            f"{format_mean([x['psnr'] for x in column], 2)} / {format_mean([x['ssim'] for x in column], 3)}"
            for column in columns
        ]
        print(f"{name:16s} " + " ".join(f"{cell:>16s}" for cell in cells))


if __name__ == "__main__":
    main()
