# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of segmentation in whole volumes over three seeds, each by one command.

python benchmarks/segmentation_tables.py inside       IOP-FL and its baselines at the five inside sites
python benchmarks/segmentation_tables.py left_out     each site in turn outside, with outside-1 and outside-3
python benchmarks/segmentation_tables.py volumes      2, 5, 10 and 20 training volumes a site, in equal numbers of steps
python benchmarks/segmentation_tables.py training     random transforms, and training as published
python benchmarks/segmentation_tables.py dimensions   2.5D and 3D

Every run is one of benchmarks/hippocampus_segmentation.py, and is not run again where it is complete in the workspace:
a table can be stopped and continued. A run takes 10 to 30 minutes on one core.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from hippocampus_segmentation import METRICS, OUTSIDE, SYSTEM, Scores, collect, table

from flare_mri.config.where import default_workspace
from flare_mri.methods.systems import IOPFL_AS_PUBLISHED

WIDE, NARROW = ["--channels", "16"], ["--channels", "8"]
RANDOM = ["--augmentation", "--loss", "dice_ce", "--lr_schedule", "cosine", "--lr_gamma", "0.05"]
PATCHES = ["--batch", "4", "--patch_size", "32", "64", "64"]
OURS = ["--methods", SYSTEM]
BOTH = ["--outside", OUTSIDE, "outside-3"]
MATCHED, ROUTED = ["--strategies", "matched"], ["--strategies", "matched", "published", "--epochs", "0"]
SITES = [f"site-{number}" for number in range(1, 6)]
TABLES: Mapping[str, Mapping[str, list[str]]] = {
    "inside": {"all methods": [*WIDE, *RANDOM, "--outside"]},
    "left_out": {"all sites": [*WIDE, *RANDOM, *OURS, *ROUTED, *BOTH]}
    | {f"without {site}": [*WIDE, *RANDOM, *OURS, *ROUTED, "--leave_out", site] for site in SITES},
    "volumes": {  # equal numbers of steps
        f"{count} training volumes a site": [*WIDE, *RANDOM, "--methods", "local-only", SYSTEM, *more, "--outside"]
        for count, more in (
            (2, ["--volumes", "2", "--local_epochs", "10"]),
            (5, ["--volumes", "5", "--local_epochs", "4"]),
            (10, ["--volumes", "10", "--local_epochs", "2"]),
            (20, []),
        )
    },
    "training": {
        "random transforms": [*WIDE, *RANDOM, *OURS, *MATCHED, *BOTH],
        "as published": [*WIDE, *IOPFL_AS_PUBLISHED, *OURS, *MATCHED, *BOTH],
    },
    "dimensions": {
        "2.5D": [*WIDE, *RANDOM, *OURS, *MATCHED, *BOTH],
        "3D": [*NARROW, *RANDOM, *PATCHES, *OURS, *MATCHED, *BOTH],
    },
}
"""Of each table its parts, and the options that make them."""


def mean_of_places(places: Sequence[Scores]) -> Scores:
    """Mean of each row that all places have."""
    rows = [row for row in places[0] if all(row in place for place in places)]
    return {row: {name: statistics.mean(place[row][name] for place in places) for name in METRICS} for row in rows}


def main(argv: list[str] | None = None) -> None:
    """Run what is missing of a table and print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    args = parser.parse_args(argv)
    more = ["--seeds", *map(str, args.seeds), "--workspace", str(args.workspace)]
    found = {title: collect([*options, *more]) for title, options in TABLES[args.table].items()}
    seeds = f"seed{'s'[: len(args.seeds) > 1]} {', '.join(map(str, args.seeds))}"
    print(f"\n\n{args.table}, {seeds}")
    places: dict[str, list[Scores]] = {}
    for title, (inside, outside) in found.items():
        print("\n" + table(f"inside, {title}", inside, {}))
        for site, scores in outside.items():
            print("\n" + table(f"{site}, {title}", scores, {}))
        places |= outside
    if args.table == "left_out":
        means = [mean_of_places([scores[index] for scores in places.values()]) for index in range(len(args.seeds))]
        print("\n" + table(f"mean of {', '.join(places)}", means, {}))


if __name__ == "__main__":
    main()
