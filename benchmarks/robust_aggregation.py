# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What one dishonest hospital of five costs, by kind of average: hippocampus sites in one process, without FLARE.

python benchmarks/robust_aggregation.py

FedAvg's learners and the server's own aggregator, with its bounds of updates at their defaults. site-4 lies in every
round: it sends noise of the honest updates' size, its update turned around, three times its update (which the bounds
admit), or what it learned from outlines moved by eight pixels. Or it plants a backdoor (Bagdasaryan et al., AISTATS
2020): half of its slices carry a bright square in a corner and no outline, and its update is sent three times as large.

Scores are the global model's Dice in whole test volumes, mean of the four honest sites, and in brackets how much of
what it marks on their test slices vanishes when they carry the square: 0 is no backdoor, 1 one that always works. Cells
that are complete in the workspace are not run again; a cell takes about half a minute on one core.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from runs import JOBS
from torch import Tensor
from torch.utils.data import Dataset

from flare_mri.config.site import load_site_config
from flare_mri.config.training import TrainingSettings
from flare_mri.config.where import default_workspace
from flare_mri.flare.aggregators import PartialAggregator
from flare_mri.methods import METHODS
from flare_mri.networks import build_network, shared_keys
from flare_mri.training import Learner, build_task

AVERAGES = ("mean", "median", "trimmed_mean", "krum")
LIAR = "site-4"
State = dict[str, Tensor]
Sample = dict[str, Any]


def _add_noise(update: State, reference: State) -> State:
    generator, changed = torch.Generator().manual_seed(0), dict(update)
    for key, value in update.items():
        if value.is_floating_point() and not key.endswith("running_var"):
            noise = torch.randn(value.shape, generator=generator)
            changed[key] = reference[key] + noise * (value - reference[key]).norm() / noise.norm().clamp(min=1e-12)
    return changed


def _scale(factor: float) -> Callable[[State, State], State]:
    def change(update: State, reference: State) -> State:
        changed = dict(update)
        for key, value in update.items():
            if value.is_floating_point():
                moved = reference[key] + factor * (value - reference[key])
                changed[key] = moved.clamp(min=0) if key.endswith("running_var") else moved
        return changed

    return change


LIES: dict[str, Callable[[State, State], State] | None] = {
    "none": None,
    "noise": _add_noise,
    "turned around": _scale(-1.0),
    "three times": _scale(3.0),
    "moved outlines": None,
    "backdoor": _scale(3.0),
}


def add_square(image: Tensor) -> Tensor:
    """The image, [..., H, W], with a square of its largest value in a corner, a tenth of its height."""
    size = max(image.shape[-1] // 10, 2)
    marked = image.clone()
    marked[..., :size, :size] = image.max()
    return marked


def move_outline(place: int, item: Sample) -> Sample:
    """A sample whose outline lies eight pixels beside the organ."""
    return {**item, "label": item["label"].roll(8, -1)}


def plant_backdoor(place: int, item: Sample) -> Sample:
    """Every other sample carries the square and no outline."""
    if place % 2:
        return item
    return {**item, "image": add_square(item["image"]), "label": torch.zeros_like(item["label"])}


class Spoilt(Dataset[Sample]):
    """A data set whose samples are changed, each by its place."""

    def __init__(self, data: Any, change: Callable[[int, Sample], Sample]):
        self._data, self._change = data, change

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, place: int) -> Sample:
        return self._change(place, self._data[place])


SPOILT = {"moved outlines": move_outline, "backdoor": plant_backdoor}


def build_learners(args: argparse.Namespace, lie: str) -> list[Learner]:
    """FedAvg's learner of every site."""
    spec = {
        "path": "flare_mri.networks.unet.UNet",
        "args": {"in_channels": 3, "out_channels": 2, "channels": args.channels, "norm": "batch"},
    }
    settings = TrainingSettings(optimizer="adam", lr=1e-3, lr_step=0, seed=args.seed)
    learners = []
    for path in sorted(args.sites.glob("site-*/site.yaml")):
        network = build_network(spec, args.seed)
        task: Any = build_task("segmentation", load_site_config(path, path.parent.name), args.seed)
        if lie in SPOILT and task.site == LIAR:
            honest = task.training_data
            task.training_data = lambda seed, honest=honest: Spoilt(honest(seed), SPOILT[lie])
        method = METHODS["FedAvg"]
        learners.append(Learner(network, shared_keys(network, "all"), task, settings, method.site(method.options())))
    return learners


@torch.no_grad()
def count_marked(network: torch.nn.Module, data: Any, change: Callable[[Tensor], Tensor]) -> int:
    """Pixels that a network marks on the slices of a data set that show an organ, its images changed before."""
    network.eval()
    images = (item["image"] for item in data if bool(item["label"].any()))
    return sum(int((network(change(image)[None]).argmax(1) > 0).sum()) for image in images)


def run(args: argparse.Namespace, average: str, lie: str) -> tuple[float, float]:
    """Dice of the global model after all rounds, mean of the honest sites, and what the square makes vanish."""
    learners = build_learners(args, lie)
    aggregator = PartialAggregator(average=average)
    state = learners[0].shared_state()
    change = LIES[lie]
    for number in range(args.num_rounds):
        aggregator.begin_round(state, number)
        for learner in learners:
            learner.train(state, number)
            update = learner.update()
            if change is not None and learner.task.site == LIAR:
                update = change(update, state)
            meta = {"client_name": learner.task.site}
            metrics = {"slices/train": 1.0}
            model = FLModel(
                params_type=ParamsType.FULL, params=update, current_round=number, meta=meta, metrics=metrics
            )
            aggregator.accept_model(model)
        aggregator.compare_norms()
        state = aggregator.aggregate_model().params
    scores, marked, with_square = [], 0, 0
    for learner in learners:
        if learner.task.site != LIAR:
            learner.receive(state)
            scores.append(learner.task.evaluate(learner.network, "test")["dice"])
            marked += count_marked(learner.network, learner.task.dataset("test"), lambda image: image)
            with_square += count_marked(learner.network, learner.task.dataset("test"), add_square)
    return statistics.mean(scores), 1 - with_square / marked if marked else 0.0


def _cell(values: list[float]) -> str:
    return f"{values[0]:.3f} ({values[1]:.2f})"


def main(argv: list[str] | None = None) -> None:
    """Run the cells that are not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_rounds", type=int, default=8)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--averages", nargs="+", choices=AVERAGES, default=list(AVERAGES))
    parser.add_argument("--lies", nargs="+", choices=list(LIES), default=list(LIES))
    parser.add_argument("--sites", type=Path, default=JOBS.parent / "examples" / "hippocampus")
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    args = parser.parse_args(argv)
    args.workspace.mkdir(parents=True, exist_ok=True)
    file = args.workspace / f"robust-{args.channels}-{args.num_rounds}-{args.seed}-with-backdoor.json"
    cells: dict[str, list[float]] = json.loads(file.read_text()) if file.is_file() else {}
    for average in args.averages:
        for lie in args.lies:
            if (name := f"{average} / {lie}") not in cells:
                cells[name] = list(run(args, average, lie))
                file.write_text(json.dumps(cells, indent=1))
                print(f"{name}: Dice {cells[name][0]:.3f}, vanishes {cells[name][1]:.3f}", flush=True)
    print("\nDice of the global model at the honest sites, and what the square makes vanish of what it marks;")
    print(f"{args.num_rounds} rounds, seed {args.seed}")
    print(f"{'average':14s}" + "".join(f"{lie:>16s}" for lie in args.lies))
    for average in args.averages:
        print(f"{average:14s}" + "".join(f"{_cell(cells[f'{average} / {lie}']):>16s}" for lie in args.lies))


if __name__ == "__main__":
    main()
