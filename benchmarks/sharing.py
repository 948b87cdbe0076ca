# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What of the unrolled network is worth sharing: the sites of examples/brain in one process, without FLARE.

python benchmarks/sharing.py                             nothing, encoders, everything; 12 rounds
python benchmarks/sharing.py --images 8 --local_epochs 3 --shared_layers none all --final_local_rounds 4
python benchmarks/sharing.py --unseen siemens-dicom      leaves that site out, and tests all others on its patient
python benchmarks/sharing.py --shared_layers none encoder.0,encoder.1      layers by their dotted prefixes
python benchmarks/sharing.py --shared_layers encoder --contrastive_weights 1 0 0 0     in the first cascade alone
python benchmarks/sharing.py --shared_layers none --data_consistency soft
python benchmarks/sharing.py --shared_layers none all --final_local_rounds 4 --members fastmri-h5 nifti     those alone
python benchmarks/sharing.py --shared_layers none --lr 1e-3
python benchmarks/sharing.py --shared_layers encoder --reset_optimizer     Adam's moments begin anew each round

The learners are those of a job, and what they share is averaged by all slices that they have. FedMRI's contrastive
term, with the encoders of all sites as negatives, is there where the cascades are given weights. With
`--final_local_rounds` the last rounds are local. A line is the test PSNR of the networks that the sites trained in
the last round; of an unseen patient all slices are tested, by every other site with its own mask. Variants that are
complete in the workspace are not run again. A round of a variant takes half a minute on two cores.
"""

import argparse
import copy
import json
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from runs import JOBS
from torch import Tensor
from torch.utils.data import Dataset, Subset

from flare_mri.config.site import SplitSettings, load_site_config
from flare_mri.config.where import default_workspace
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.methods.base import NoOptions, SiteHooks, State
from flare_mri.methods.weighted_contrastive import WeightedContrastive
from flare_mri.networks import SHARED_LAYERS, build_network, shared_keys
from flare_mri.physics.data_consistency import DATA_CONSISTENCY
from flare_mri.training import Learner
from flare_mri.training.build import build_task
from flare_mri.training.task import Task


class CascadeContrastive(SiteHooks):
    """FedMRI's contrastive term for the encoder of each cascade by itself; a cascade of weight 0 has none.

    Attributes:
        negatives: what the sites shared after the round before.
    """

    def __init__(self, weights: Sequence[float]):
        super().__init__(NoOptions())
        self._weights, self.negatives = weights, list[State]()
        self._terms: list[tuple[list[str], WeightedContrastive, float]] = []

    def begin_round(self, learner: Learner, received: Mapping[str, Tensor], round_number: int) -> None:
        """Build the terms, where there are negatives."""
        self._terms = []
        for cascade, weight in enumerate(self._weights):
            keys = [key for key in learner.shared_parameters if key.startswith(f"encoder.{cascade}.")]
            if weight and keys and self.negatives:
                negatives = [[negative[key] for key in keys] for negative in self.negatives]
                self._terms.append((keys, WeightedContrastive([received[key] for key in keys], negatives), weight))

    def after_backward(self, learner: Learner, step: int) -> None:
        """Add the terms' gradients."""
        parameters = dict(learner.network.named_parameters())
        for keys, term, weight in self._terms if step else []:
            term.add_gradient_([parameters[key] for key in keys], weight)


def keep_images(task: Task, count: int) -> None:
    """Let a task train on so many of its slices alone, spread over all of them."""
    all_data = task.training_data
    total = len(task.dataset("train"))
    kept = torch.linspace(0, total - 1, min(count, total)).long().tolist()

    def training_data(seed: int) -> Dataset:
        return Subset(all_data(seed), kept)

    task.training_data = training_data


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every benchmark of the sites in one process."""
    parser.add_argument("--num_rounds", type=int, default=12)
    parser.add_argument("--images", type=int, default=0, help="training slices of a site; 0: all")
    parser.add_argument("--local_epochs", type=int, default=1)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--lr", type=float, default=FedMRIRecipe.system.training.lr, help="default: the job's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sites", type=Path, default=JOBS.parent / "examples" / "brain")
    parser.add_argument("--workspace", type=Path, default=default_workspace())


def build_learners(
    args: argparse.Namespace,
    shared_layers: str,
    members: Collection[str] | None = None,
    data_consistency: str = "hard",
    contrastive_weights: Sequence[float] = (),
) -> list[Learner]:
    """A learner for every site, with the network and the training of the job.

    Args:
        shared_layers: a name of :func:`flare_mri.networks.shared_keys`, or dotted prefixes with commas between.
        members: the sites that take part; None: all.
        data_consistency: of the network.
        contrastive_weights: of the cascades; none: no term.
    """
    network = copy.deepcopy(FedMRIRecipe.system.network)
    network["args"]["regulariser_args"]["channels"] = args.channels
    network["args"]["data_consistency"] = data_consistency
    settings = FedMRIRecipe.system.training.model_copy(
        update={
            "augmentation": True,
            "lr": args.lr,
            "lr_rounds": args.num_rounds,
            "local_epochs": args.local_epochs,
            "seed": args.seed,
        }
    )
    learners = []
    for path in sorted(args.sites.glob("*/site.yaml")):
        if members is not None and path.parent.name not in members:
            continue
        built = build_network(network, args.seed)
        config = load_site_config(path, path.parent.name)
        task = build_task("reconstruction", config, args.seed, built.sample_keys, settings)
        if args.images:
            keep_images(task, args.images)
        shared = shared_keys(built, shared_layers if shared_layers in SHARED_LAYERS else shared_layers.split(","))
        learners.append(Learner(built, shared, task, settings, CascadeContrastive(contrastive_weights)))
    return learners


def average_shared(learners: list[Learner]) -> dict[str, Tensor]:
    """The mean of what the sites share, weighted by all slices that they have."""
    counts = [len(learner.task.dataset("train")) for learner in learners]
    states = [learner.shared_state() for learner in learners]
    return {
        key: torch.stack([state[key] * count for state, count in zip(states, counts, strict=True)]).sum(0) / sum(counts)
        for key in states[0]
    }


def score_unseen(args: argparse.Namespace, learner: Learner) -> float:
    """Mean PSNR (dB) of a site's network over all slices of the unseen site's volumes, under the site's own mask."""
    unseen = load_site_config(args.sites / args.unseen / "site.yaml", args.unseen)
    own = load_site_config(args.sites / learner.task.site / "site.yaml", learner.task.site)
    config = unseen.model_copy(update={"mask": own.mask, "split": SplitSettings(train=0, validation=0, test=1)})
    task = build_task("reconstruction", config, args.seed, learner.network.sample_keys)
    return task.evaluate(learner.network, "test")["psnr"]


def run_variant(args: argparse.Namespace, shared_layers: str) -> dict[str, float]:
    """Test PSNR (dB) by site after the last round, on the site's own slices or on those of the unseen site."""
    members = set(args.members) - {args.unseen}
    learners = build_learners(args, shared_layers, members, args.data_consistency, args.contrastive_weights)
    average = learners[0].shared_state()
    untrained = [copy.deepcopy(learner.private_state()["optimizer"]) for learner in learners]
    for round_number in range(args.num_rounds):
        alone = round_number >= args.num_rounds - args.final_local_rounds
        for learner in learners:
            learner.train(learner.shared_state() if alone else average, round_number)
        average = average_shared(learners)
        negatives = [learner.shared_state() for learner in learners]
        for learner in learners:
            learner.hooks.negatives = negatives
        if args.reset_optimizer:
            for learner, optimizer in zip(learners, untrained, strict=True):
                learner.restore({**learner.private_state(), "optimizer": copy.deepcopy(optimizer)}, round_number)
        print(f"  {shared_layers} round {round_number + 1}/{args.num_rounds}", flush=True)
    if args.unseen:
        return {learner.task.site: score_unseen(args, learner) for learner in learners}
    return {learner.task.site: learner.task.evaluate(learner.network, "test")["psnr"] for learner in learners}


def main(argv: list[str] | None = None) -> None:
    """Run the variants that are not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared_layers", nargs="+", default=["none", "encoder", "all"], help="names, or prefixes a,b")
    parser.add_argument("--final_local_rounds", type=int, default=0, help="the last rounds, in which nothing is shared")
    parser.add_argument("--data_consistency", choices=sorted(DATA_CONSISTENCY), default="hard")
    parser.add_argument("--contrastive_weights", type=float, nargs="*", default=(), help="by cascade; none: no term")
    parser.add_argument("--members", nargs="+", help="the sites that take part; default: all")
    parser.add_argument("--reset_optimizer", action="store_true", help="begin each round without moments")
    parser.add_argument("--unseen", help="a site that does not train, and whose patient the others are tested on")
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    sites = sorted(path.parent.name for path in args.sites.glob("*/site.yaml"))
    for option, names in (("--unseen", [args.unseen] if args.unseen else []), ("--members", args.members or [])):
        if unknown := sorted(set(names) - set(sites)):
            parser.error(f"{option} {', '.join(unknown)}: expected of {args.sites}: {', '.join(sites)}")
    args.members = sorted(args.members or sites)
    args.workspace.mkdir(parents=True, exist_ok=True)
    of_run = (
        args.num_rounds,
        args.final_local_rounds,
        args.images,
        args.local_epochs,
        args.channels,
        args.lr,
        args.seed,
    )
    if args.unseen:
        of_run = (*of_run, args.unseen)
    if args.data_consistency != "hard" or args.contrastive_weights:
        of_run = (*of_run, args.data_consistency, *args.contrastive_weights)
    if args.members != sites:
        of_run = (*of_run, *args.members)
    if args.reset_optimizer:
        of_run = (*of_run, "reset")
    rows = {}
    for shared_layers in args.shared_layers:
        path = args.workspace / f"sharing-{shared_layers}-{'-'.join(map(str, of_run))}.json"
        if not path.is_file():
            path.write_text(json.dumps(run_variant(args, shared_layers)))
        rows[shared_layers] = json.loads(path.read_text())
    tested = list(next(iter(rows.values())))
    patient = f" on {args.unseen}" if args.unseen else ""
    print(f"\nTest PSNR (dB){patient}" + "".join(f"{site:>16s}" for site in [*tested, "mean"]))
    for name, scores in rows.items():
        print(
            f"{name:14s}" + "".join(f"{value:16.2f}" for value in [*scores.values(), statistics.mean(scores.values())])
        )


if __name__ == "__main__":
    main()
