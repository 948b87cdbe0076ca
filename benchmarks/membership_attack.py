# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Membership inference: was this patient trained on?

Models of hippocampus site-1, each trained on a random half of 30 patients, each attacked by its loss (Yeom et al., CSF
2018, arXiv 1709.01604), plain and less that of the other models, which did not train on the slice (calibration by
shadow models; Watson et al., ICLR 2022, arXiv 2111.08440).
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from example_sites import open_example
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from flare_mri.config.training import TrainingSettings
from flare_mri.methods.base import NoOptions, SiteHooks
from flare_mri.networks import UNet
from flare_mri.training import Learner, SegmentationTask, build_task
from flare_mri.training.privacy_ledger import PrivacyLedger
from flare_mri.training.private_steps import PrivateSteps

RUN = "0" * 32
PRIVATE = {"no privacy": None, "ε 8": 8.0}
"""For a patient, δ 1e-5."""


class Part:
    """A task whose training data are those of some of its patients."""

    def __init__(self, task: SegmentationTask, patients: set[str]):
        self.task, every = task, task.data.outside
        owners = [every.volumes[volume].subject for volume, _ in every.indices]
        places = [place for place, owner in enumerate(owners) if owner in patients]
        self._data, self._patients = Subset(every, places), [owners[place] for place in places]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def dataset(self, split: str) -> Dataset:
        """The part, as the training split."""
        return self._data

    def training_data(self, seed: int) -> Dataset:
        """The part."""
        return self._data

    def private_data(self, seed: int) -> tuple[Dataset, list[str]]:
        """The part, and the patients."""
        return self._data, self._patients


def train_half(
    task: SegmentationTask, patients: set[str], seed: int, epsilon: float | None, args: argparse.Namespace
) -> nn.Module:
    """A network trained at one site on some of its patients."""
    part: Any = Part(task, patients)
    settings = TrainingSettings(optimizer="adam", lr=1e-3, lr_step=0, seed=seed, dp_epsilon=epsilon)
    torch.manual_seed(seed)
    network = UNet(in_channels=3, out_channels=2, channels=args.channels, num_pools=3, norm="group")
    with tempfile.TemporaryDirectory() as store:
        steps = None
        if epsilon is not None:
            steps = PrivateSteps(settings, part, 1, args.epochs, PrivacyLedger(Path(store), "site-1"), RUN, "attack")
        learner = Learner(network, [], part, settings, SiteHooks(NoOptions()), private=steps)
        for epoch in range(args.epochs):
            learner.train({}, epoch)
    return network.eval()


def losses_of(task: SegmentationTask, network: nn.Module) -> np.ndarray:
    """Loss of every slice of the site."""
    data = task.data.outside
    with torch.inference_mode():
        batches = ({k: v[None] for k, v in data[n].items() if isinstance(v, Tensor)} for n in range(len(data)))
        return np.array([float(task.loss(network, batch)) for batch in batches])


def membership(setting: str, args: argparse.Namespace) -> dict[str, float]:
    """Areas under the curve (0.5 is guessing) of both attacks, and the losses that they tell apart."""
    config = open_example("hippocampus", "site-1")
    slices = config.data.slices.model_copy(update={"step": 12})
    task = build_task("segmentation", open_example("hippocampus", "site-1", slices=slices), 0)
    assert isinstance(task, SegmentationTask)
    data = task.data.outside
    owners = np.array([data.volumes[volume].subject for volume, _ in data.indices])
    names = sorted(set(owners))
    marked = np.array([data.volumes[volume].marked[index] for volume, index in data.indices])
    members, losses = [], []
    for model in range(args.models):
        chosen = set(np.random.default_rng(model).permutation(names)[: len(names) // 2].tolist())
        members.append(np.isin(owners, list(chosen)))
        losses.append(losses_of(task, train_half(task, chosen, model, PRIVATE[setting], args)))
        print(f"  membership, {setting}: model {model + 1} of {args.models}", flush=True)
    found = [_attack(model, np.array(members), np.array(losses), owners, names, marked) for model in range(args.models)]
    return {key: float(np.mean([one[key] for one in found])) for key in found[0]} | {
        "spread of AUC, shadow models, patients": float(np.std([one["AUC, shadow models, patients"] for one in found]))
    }


def _attack(
    model: int, members: np.ndarray, losses: np.ndarray, owners: np.ndarray, names: list[str], marked: np.ndarray
) -> dict[str, float]:
    """One model attacked, with the others as shadows. Scores are higher for who seems to have been trained on."""
    others = np.arange(len(losses)) != model
    shadows = others[:, None] & ~members
    known = shadows.any(0)  # to a model that did not train on the slice
    expected = (losses * shadows).sum(0) / shadows.sum(0).clip(1)
    calibrated = np.where(known, expected - losses[model], 0)
    by_patient = np.array([owners == name for name in names])
    truth = by_patient @ members[model] > 0
    mean = by_patient / by_patient.sum(1, keepdims=True)
    inside, outside = losses[model][members[model] & marked], losses[model][~members[model] & marked]
    return {
        "AUC, loss, slices": roc_auc_score(members[model][marked], -losses[model][marked]),
        "AUC, loss, patients": roc_auc_score(truth, -mean @ losses[model]),
        "AUC, shadow models, slices": roc_auc_score(members[model][known & marked], calibrated[known & marked]),
        "AUC, shadow models, patients": roc_auc_score(truth, mean @ calibrated),
        "Dice loss, trained on": float(inside.mean()),
        "Dice loss, others": float(outside.mean()),
    }
