# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""How well the predicted Dice goes with the true one, at hospitals outside the federation.

python benchmarks/quality_estimate.py routing_space.safetensors
python benchmarks/quality_estimate.py routing_space.safetensors --left_out site-1=SPACE site-2=SPACE

The calibration is fitted where a federation has labels: on validation volumes of the inside sites, each with its own
personal model and with the mix of the others, every second one also with each of the others' models. Then every outside
site's volumes are segmented by the matched mix, and the test volumes of each inside site by the mix of a space that
leaves its model out; the calibration that judges these was fitted without this site's volumes. With `--left_out` the
published curve judges, as at a hospital, and all volumes of a site that is named are segmented by the mix of a space
that was trained without it. Labels serve calibration and score only.
"""

import argparse
import statistics
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from runs import JOBS
from scipy.stats import spearmanr
from torch import nn

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.config.site import load_site_config
from flare_mri.datasets.pieces import Pieces
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.datasets.segmentation_slices import SegmentationDataset
from flare_mri.inference.calibration import PUBLISHED, Calibration
from flare_mri.inference.quality import estimate_quality
from flare_mri.metrics.segmentation import volume_scores
from flare_mri.networks import build_network
from flare_mri.routing.outside import Outside
from flare_mri.routing.space import GLOBAL, RoutingSpace, load_routing_space

EXAMPLES = JOBS.parent / "examples"
CPU = torch.device("cpu")
BATCH = 16


@dataclass(frozen=True)
class Case:
    """A volume of a site, segmented by a model: true Dice and agreement, both means over organs."""

    site: str
    model: str
    dice: float
    agreement: float


Rows = dict[str, tuple[list[Case], Calibration]]
"""Name of a row -> its cases, and the curve that judges them."""


def open_site(folder: Path, plan: SegmentationPlan) -> SegmentationData:
    """The volumes of a site's folder with its site.yaml."""
    return SegmentationData(load_site_config(folder / "site.yaml", folder.name), 0, plan=plan)


def volumes_of(dataset: SegmentationDataset, plan: SegmentationPlan) -> Iterator[tuple[Pieces, np.ndarray]]:
    """Pieces of each volume, and its labels [N, H, W]."""
    for number in dataset.used:
        places = [place for place, (volume, _) in enumerate(dataset.indices) if volume == number]
        yield Pieces([dataset.volumes[number].slices], plan), np.stack([dataset.truth(place) for place in places])


def judge_all(
    site: str, model: str, network: nn.Module, dataset: SegmentationDataset, plan: SegmentationPlan, step: int = 1
) -> list[Case]:
    """Segments every `step`-th volume of a data set."""
    cases = []
    for pieces, labels in islice(volumes_of(dataset, plan), 0, None, step):
        probabilities = pieces.probabilities(network, BATCH)
        found, organs = probabilities.argmax(1).numpy(), range(1, probabilities.shape[1])
        dice = statistics.mean(volume_scores(found == organ, labels == organ)[0] for organ in organs)
        agreement = estimate_quality(network, pieces, probabilities, BATCH).agreement
        cases.append(Case(site, model, dice, statistics.mean(agreement)))
    mean = statistics.mean(case.dice for case in cases)
    print(f"{site}, {model}: {len(cases)} volumes, mean Dice {mean:.3f}", flush=True)
    return cases


def mix(space: RoutingSpace, dataset: SegmentationDataset) -> nn.Module:
    """The model that a site without labels gets from a space."""
    pieces = Pieces([dataset.volumes[number].slices for number in dataset.used], space.plan)
    made = Outside(space, pieces, AdaptationSettings(), CPU).make_model()
    print("\n".join(made.notes()), flush=True)
    return made.network


def without(space: RoutingSpace, site: str) -> RoutingSpace | None:
    """The space that leaves a site's model out; None where no personal model is left."""
    experts = {name: state for name, state in space.experts.items() if name != site}
    dice = {name: value for name, value in space.dice.items() if name in experts}
    return replace(space, experts=experts, dice=dice) if len(experts) > 1 else None


def cases_to_fit(space: RoutingSpace, inside: Sequence[Path]) -> list[Case]:
    """Good and bad segmentations of the inside sites' validation volumes."""
    cases: list[Case] = []
    for folder in inside:
        dataset, site = open_site(folder, space.plan).validation, folder.name
        for name in (name for name in space.experts if name != GLOBAL):
            network = build_network(space.network, 0)
            network.load_state_dict(space.experts[name])
            cases += judge_all(site, f"model of {name}", network.eval(), dataset, space.plan, 1 if name == site else 2)
        if fewer := without(space, site):
            cases += judge_all(site, "mix of the others", mix(fewer, dataset), dataset, space.plan)
    return cases


def row(name: str, cases: Sequence[Case], predicted: Sequence[float], threshold: float) -> str:
    """A line of the table."""
    true = [case.dice for case in cases]
    order = float(spearmanr(true, predicted).statistic) if len(set(true)) > 1 and len(set(predicted)) > 1 else 0.0
    error = statistics.mean(abs(one - other) for one, other in zip(true, predicted, strict=True))
    warned = [value < threshold for value in predicted]
    bad = [value < threshold for value in true]
    hits = sum(one and other for one, other in zip(warned, bad, strict=True))
    means = f"{statistics.mean(true):10.3f} {statistics.mean(predicted):10.3f}"
    return f"{name:24s} {len(cases):4d} {means} {order:9.2f} {error:6.3f} {hits:6d} {sum(warned) - hits:6d} " + (
        f"{sum(bad) - hits:7d}"
    )


def parser_of_space(description: str | None) -> argparse.ArgumentParser:
    """A parser that takes a routing space and the folders of sites inside and outside of its federation."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", type=Path, help="routing_space.safetensors of a job iopfl")
    sites = [EXAMPLES / "hippocampus" / f"site-{number}" for number in range(1, 6)]
    parser.add_argument("--inside", nargs="+", type=Path, default=sites, help="folders with a site.yaml")
    sites = [EXAMPLES / "hippocampus" / "outside-1", EXAMPLES / "hippocampus_outside" / "outside-3"]
    parser.add_argument("--outside", nargs="*", type=Path, default=sites)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Fit, judge, print the table."""
    parser = parser_of_space(__doc__)
    parser.add_argument("--left_out", nargs="+", default=[], metavar="SITE=SPACE", help="spaces trained without a site")
    parser.add_argument("--threshold", type=float, default=0.7, help="Dice below which a person is warned")
    args = parser.parse_args(argv)
    args.left_out = dict(split_name(parser, named, {folder.name for folder in args.inside}) for named in args.left_out)
    print_table((judge_left_out if args.left_out else judge_fitted)(args), args.threshold)


def split_name(parser: argparse.ArgumentParser, named: str, sites: Collection[str]) -> tuple[str, Path]:
    """Name and file of `SITE=SPACE`, of one of the inside sites."""
    name, _, path = named.partition("=")
    if name not in sites or not path:
        parser.error(f"--left_out: expected SITE=SPACE with a SITE of {', '.join(sorted(sites))}, got {named}")
    return name, Path(path)


def judge_left_out(args: argparse.Namespace) -> Rows:
    """All volumes of the outside sites, and of sites that a space was trained without, by the published curve."""
    folders = {folder.name: folder for folder in args.inside}
    spaces = [(folder, args.space) for folder in args.outside]
    spaces += [(folders[name], path) for name, path in args.left_out.items()]
    calibration, rows = replace(PUBLISHED, threshold=args.threshold), {}
    for folder, path in spaces:
        space = load_routing_space(path)
        data = open_site(folder, space.plan).outside
        rows[folder.name] = judge_all(folder.name, "mix", mix(space, data), data, space.plan), calibration
    return rows


def judge_fitted(args: argparse.Namespace) -> Rows:
    """The outside sites, and test volumes of the inside ones without their own model, by curves that are fitted."""
    space = load_routing_space(args.space)
    fitted = cases_to_fit(space, args.inside)
    print(f"fitted on {len(fitted)} cases: {fit(fitted, args.threshold)}")
    rows: Rows = {}
    for folder in args.outside:
        data = open_site(folder, space.plan).outside
        rows[folder.name] = (
            judge_all(folder.name, "mix", mix(space, data), data, space.plan),
            fit(fitted, args.threshold),
        )
    for folder in args.inside:
        if fewer := without(space, folder.name):
            data = open_site(folder, space.plan).test
            calibration = fit([case for case in fitted if case.site != folder.name], args.threshold)
            cases = judge_all(folder.name, "mix of the others", mix(fewer, data), data, space.plan)
            rows[f"{folder.name} left out"] = cases, calibration
    return rows


def fit(cases: Sequence[Case], threshold: float) -> Calibration:
    """The calibration of cases."""
    return Calibration.fit([case.agreement for case in cases], [case.dice for case in cases], threshold)


def print_table(rows: Rows, threshold: float) -> None:
    """A line for each site, and one for all."""
    columns = "true Dice  predicted  Spearman    MAE  right  false  missed"
    print(f"\n{'':24s} {'n':>4s}  {columns}   (warnings below {threshold:.2f})")
    everything: list[Case] = []
    predictions: list[float] = []
    for name, (cases, calibration) in rows.items():
        predicted = [calibration.predict(case.agreement) for case in cases]
        print(row(name, cases, predicted, threshold))
        everything, predictions = everything + cases, predictions + predicted
    print(row("all", everything, predictions, threshold))


if __name__ == "__main__":
    main()
