# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What personal models mark beyond the organ, and what it costs: of a job's stores, on whole test volumes.

python benchmarks/beyond_the_organ.py workspace/stores/JOB --sites examples/hippocampus

A line a site: Dice of whole volumes, Dice of the same volumes cut to the slices that hold an organ in the truth, and
how many of the other slices are marked. The folder holds the sites' stores, with a personal.safetensors for each.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
from runs import JOBS

from flare_mri.config.site import load_site_config
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.inference.personal_model import PERSONAL_FILE, load_personal_model
from flare_mri.metrics.segmentation import volume_scores

BATCH = 16


def measure(model_file: Path, site_yaml: Path) -> tuple[float, float, int, int]:
    """Mean Dice over test volumes and organs, whole and within the labelled slices; slices marked of those beyond."""
    model = load_personal_model(model_file)
    config = load_site_config(site_yaml, model.site)
    data = SegmentationData(config, seed=0, plan=model.plan)
    found = data.pieces(data.test).classes(model.build(), BATCH)
    truth = np.stack([data.test.truth(place) for place in range(len(data.test))])
    numbers = np.array([number for number, _ in data.test.indices])
    held = np.array([data.volumes[number].marked[index] for number, index in data.test.indices])
    scores = []
    for chosen in (np.ones_like(held), held):
        places = [(numbers == number) & chosen for number in data.test.used]
        pairs = [(found[at] == organ, truth[at] == organ) for at in places for organ in data.organs.labelled]
        scores.append(statistics.mean(volume_scores(one, two)[0] for one, two in pairs))
    beyond = found[~held].any((1, 2))
    return scores[0], scores[1], int(beyond.sum()), len(beyond)


def main(argv: list[str] | None = None) -> None:
    """Print a line for each site and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", type=Path, help="folder with the sites' stores of one job")
    parser.add_argument("--sites", type=Path, default=JOBS.parent / "examples" / "hippocampus")
    args = parser.parse_args(argv)
    rows = {path.parent.name: path for path in sorted(args.stores.rglob(PERSONAL_FILE))}
    if not rows:
        raise SystemExit(f"{args.stores}: expected {PERSONAL_FILE} in the sites' stores, got none; give a job's folder")
    print(f"{'':10s} {'whole Dice':>10s} {'within':>8s} {'difference':>11s} {'marked beyond':>14s}")
    found = {site: measure(path, args.sites / site / "site.yaml") for site, path in rows.items()}
    for site, (whole, within, marked, count) in found.items():
        print(f"{site:10s} {whole:10.4f} {within:8.4f} {within - whole:11.4f} {f'{marked} of {count}':>14s}")
    whole, within = (statistics.mean(row[at] for row in found.values()) for at in (0, 1))
    told = f"{sum(row[2] for row in found.values())} of {sum(row[3] for row in found.values())}"
    print(f"{'all':10s} {whole:10.4f} {within:8.4f} {within - whole:11.4f} {told:>14s}")


if __name__ == "__main__":
    main()
