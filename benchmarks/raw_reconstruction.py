# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The table of raw multi-coil k-space: unrolled networks in a federation against classical reconstructions.

python benchmarks/raw_reconstruction.py                              three hospitals of examples/raw, 30 rounds, seed 0
python benchmarks/raw_reconstruction.py --methods --seeds 0          the classical reconstructions alone

Zero-filled, CG-SENSE and l1-ESPIRiT see the test slices, masks and coil sensitivities of the networks; the weight of
each is the best of a few on the training slices. Runs that are complete in the workspace are not run again, so that a
long benchmark can be stopped and continued. The sites set no validation slices aside: scores are those of the model
after the last round. Needs the extra `raw`.

Two rows tell what the scores are worth: l1-ESPIRiT with the measured samples and the noise floor that the network's
output has, and what whoever knows the object would score, since the targets hold noise that nobody can know.
"""

import argparse
import math
import statistics
from pathlib import Path

import numpy as np
import torch
from runs import JOBS, format_mean, is_complete, name_with
from torch.utils.data import default_collate

from flare_mri.config.site import load_site_config
from flare_mri.config.where import default_workspace
from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.flare.recipes.follow import run_and_follow
from flare_mri.flare.recipes.simulate import results_path
from flare_mri.inference.scan_noise import estimate_noise
from flare_mri.metrics.reconstruction import VolumeMetrics
from flare_mri.networks import UnrolledNetwork
from flare_mri.physics.classical import root_sum_of_squares
from flare_mri.physics.fourier import fft2c
from flare_mri.report.results import load_results
from flare_mri.training.classical import CLASSICAL, score_classical
from flare_mri.training.reconstruction import ReconstructionTask
from flare_mri.training.scanner_units import add_scores, normalise_magnitude

METHODS = ("local-only", "FedMRI", "encoder-sharing", "FedAvg")
TITLES = {entry.title: name for name, entry in CLASSICAL.items()}
Scores = dict[str, float]


def find_classical(sites: Path, titles: list[str]) -> dict[str, dict[str, Scores]]:
    """Test scores by method and site."""
    found: dict[str, dict[str, Scores]] = {title: {} for title in ("zero-filled", *titles)}
    weights: dict[str, float] = {}
    for path in sorted(sites.glob("*/site.yaml")):
        site = path.parent.name
        config = load_site_config(path, site)
        data = ReconstructionData(config, 0)
        task = ReconstructionTask(data, config, torch.device("cpu"))
        found["zero-filled"][site] = task.baselines(classical=False)["zero_filled"].metrics
        for title in titles:
            metrics, weight = score_classical(data, TITLES[title])
            found[title][site] = metrics.aggregate()
            print(f"{site}: {title}, weight {weight:g}: PSNR {found[title][site]['psnr']:.2f} dB", flush=True)
            if TITLES[title] == "l1_espirit":
                weights[site] = weight
    if weights:
        found["the same, output as the network's"], found["whoever knows the object"] = score_measured(sites, weights)
    return found


def score_measured(sites: Path, weights: dict[str, float]) -> tuple[dict[str, Scores], dict[str, Scores]]:
    """Test scores by site of l1-ESPIRiT with its output made as the network's, and the most that noise lets be.

    The first says how much of what a network gains over l1-ESPIRiT is due to the measured samples and the noise floor
    in its output. For the second the reconstruction of l1-ESPIRiT is the object: noise of the scan's strength is added
    to the k-space of its coils, and whoever knows the object, and the measured samples, is scored against that.

    Args:
        sites: folder of them.
        weights: of l1-ESPIRiT, by site.
    """
    measured, known = {}, {}
    network = UnrolledNetwork(num_cascades=1, regulariser_args={"channels": 2, "num_pools": 1})
    for site, weight in weights.items():
        test = _open(sites / site / "site.yaml").test.with_keys(("kspace", "mask", "sensitivities"))
        assert test.raw is not None, f"{site}: no raw k-space"
        generator, metrics, most = torch.Generator().manual_seed(0), VolumeMetrics(), VolumeMetrics()
        for place, (volume, index) in enumerate(test.indices):
            batch = default_collate([test[place]])
            kspace, mask, maps = (batch[key] for key in test.keys)
            image = CLASSICAL["l1_espirit"].solve(kspace, mask, maps, penalty=weight)
            add_scores(metrics, batch, normalise_magnitude(batch, network.find_magnitude(image, kspace, mask, maps)))
            full = (test.raw[volume].item(index)["full"][None] / batch["scale"]).numpy()
            strength = estimate_noise(full, np.ones((1, *full.shape[-2:]), bool))
            drawn = torch.view_as_complex(torch.randn(*full.shape, 2, generator=generator)) * strength / math.sqrt(2)
            scan = fft2c(maps * image) + drawn
            target = normalise_magnitude(batch, root_sum_of_squares(scan))
            best = normalise_magnitude(batch, network.find_magnitude(image, scan, mask, maps))
            add_scores(most, {**batch, "target": target}, best)
        measured[site], known[site] = metrics.aggregate(), most.aggregate()
    return measured, known


def _open(path: Path) -> ReconstructionData:
    return ReconstructionData(load_site_config(path, path.parent.name), 0)


def train(args: argparse.Namespace, method: str, seed: int) -> dict[str, Scores]:
    """Test scores of a method by site, after the last round."""
    name = name_with(f"raw-{method.lower()}-{seed}", args.more)
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
    parser.add_argument("--classical", nargs="*", choices=TITLES, default=list(TITLES), metavar="METHOD")
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
    print(f"{'':34s} " + " ".join(f"{site:>16s}" for site in [*sites, "mean"]))
    for name, runs in rows.items():
        columns = [[run[site] for run in runs] for site in sites]
        columns.append([{key: statistics.mean(run[s][key] for s in sites) for key in ("psnr", "ssim")} for run in runs])
        cells = [
            f"{format_mean([x['psnr'] for x in column], 2)} / {format_mean([x['ssim'] for x in column], 3)}"
            for column in columns
        ]
        print(f"{name:34s} " + " ".join(f"{cell:>16s}" for cell in cells))


if __name__ == "__main__":
    main()
