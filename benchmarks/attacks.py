# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Two attacks on what leaves a hospital, with and without differential privacy; real data, small, without FLARE.

python benchmarks/attacks.py                          both; docs/explanation/privacy.md says what they show
python benchmarks/attacks.py --attacks membership     was this patient trained on? by the loss, and by shadow models
python benchmarks/attacks.py --attacks inversion      an image from one step's change of FedMRI's encoder

What was measured is kept as JSON in the workspace and not measured again, so that the benchmark can be continued.

Membership: models of hippocampus site-1, each trained on a random half of 30 patients, each attacked by its loss (Yeom
et al., CSF 2018, arXiv 1709.01604), plain and less that of the other models, which did not train on the slice
(calibration by shadow models; Watson et al., ICLR 2022, arXiv 2111.08440).
Inversion: the server's, in the first round, where it knows the private decoder too, since the job's seed made it; it is
given the mask, and that there was one step. Gradients are matched by their cosine with a prior of total variation
(Geiping et al., NeurIPS 2020, arXiv 2003.14053).
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from flare_mri.atomic_file import write_atomically
from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.config.training import TrainingSettings
from flare_mri.config.where import default_workspace
from flare_mri.files import read_json
from flare_mri.methods.base import NoOptions, SiteHooks
from flare_mri.networks import UNet
from flare_mri.physics.fourier import fft2c, ifft2c
from flare_mri.training import Learner, SegmentationTask, build_task
from flare_mri.training.privacy_ledger import PrivacyLedger
from flare_mri.training.private_steps import PrivateSteps
from flare_mri.transforms.masks import make_mask

EXAMPLES = Path(__file__).parents[1] / "examples"
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


def open_example(name: str, site: str, **data: Any) -> SiteConfig:
    """A site of the examples, with other keys of `data`."""
    os.environ.setdefault("FLARE_MRI_DATA", str((EXAMPLES.parents[1] / "shared" / "data").absolute()))
    config = load_site_config(EXAMPLES / name / site / "site.yaml", site)
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


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


def prepare(target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The zero-filled input and the target [B, 1, H, W] as a site normalises them, differentiable."""
    image = ifft2c(fft2c(target + 0j) * mask).abs()
    mean, deviation = image.mean((2, 3), keepdim=True), image.std((2, 3), keepdim=True)
    return (image - mean) / deviation, (target - mean) / deviation


def encoder_gradient(network: Any, target: Tensor, mask: Tensor, create: bool = False) -> Tensor:
    """Gradient of the mean squared error with respect to the encoder, flat."""
    image, wanted = prepare(target, mask)
    loss = (network(image) - wanted).square().mean()
    return torch.cat(
        [g.flatten() for g in torch.autograd.grad(loss, network.encoder.parameters(), create_graph=create)]
    )


def _private(network: UNet, target: Tensor, mask: Tensor) -> Tensor:
    """DP-SGD's gradient with σ = C = 1: noise on the sum of clipped gradients."""
    total = torch.zeros(())
    for one in target.split(1):
        gradient = encoder_gradient(network, one, mask)
        total = total + gradient * min(1.0, 1.0 / float(gradient.norm()))
    return (total + torch.randn_like(total)) / len(target)


SEEN: dict[str, Callable[[UNet, Tensor, Tensor], Tensor]] = {
    "sgd": encoder_gradient,
    "rmsprop": lambda network, target, mask: encoder_gradient(network, target, mask).sign(),
    "sgd, σ = 1": _private,
}
"""What the server makes of the encoder's change: RMSprop's and Adam's first step is the sign of the gradient."""


def invert(network: nn.Module, seen: Tensor, start: Tensor, mask: Tensor, steps: int) -> Tensor:
    """Images whose gradient is most like the one seen."""
    guess = (start + 0.05 * torch.randn(start.shape)).requires_grad_()
    optimizer = torch.optim.Adam([guess], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        gradient = encoder_gradient(network, guess, mask, create=True)
        even = guess / guess.std()  # the gradient tells nothing of the scale
        variation = even.diff(dim=2).abs().mean() + even.diff(dim=3).abs().mean()
        loss = 1 - nn.functional.cosine_similarity(gradient, seen, dim=0) + 1e-3 * variation
        guess.grad = torch.autograd.grad(loss, guess)[0]
        optimizer.step()
        schedule.step()
    return guess.detach()


def inversion(setting: str, args: argparse.Namespace) -> dict[str, float]:
    """PSNR (dB) and SSIM of the images found, of images in any order, and of the mean of others in their place."""
    kind, _, batch = setting.rpartition(", batch ")
    config = open_example("brain", "fastmri-h5", spatial_size=(args.size, args.size))
    settings = config.mask.model_copy(update={"kind": "equispaced", "path": None})
    config = config.model_copy(update={"mask": settings})
    task: Any = build_task("reconstruction", config, 0)
    volumes = [np.array(volume[:]) for volume in task.data.train.volumes]
    first, second = (torch.from_numpy(volume / volume.max()).float() for volume in volumes[:2])
    mask = torch.from_numpy(make_mask(settings, (args.size, args.size)))
    places = torch.linspace(2, len(first) - 3, int(batch)).round().long()
    target, mean = first[places][:, None], second.mean(0)[None, None].expand(int(batch), -1, -1, -1)
    torch.manual_seed(0)
    network = UNet(channels=args.channels, num_pools=3)
    found = invert(network, SEEN[kind](network, target, mask), mean.clone(), mask, args.steps)
    return _compare("found", found, target) | _compare("mean of another patient", mean, target)


def fit(image: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The image, scaled and shifted so that it is as near to the target as can be."""
    slope, offset = np.polyfit(image.ravel(), target.ravel(), 1)
    return (slope * image + offset).astype(np.float32)


def _compare(name: str, images: Tensor, target: Tensor) -> dict[str, float]:
    """Scores after the best scale and offset, of which normalised inputs tell nothing."""
    pairs = [[(a[0].numpy(), fit(b[0].numpy(), a[0].numpy())) for b in images] for a in target]
    psnr = np.array([[peak_signal_noise_ratio(a, b, data_range=1) for a, b in row] for row in pairs])
    order = linear_sum_assignment(-psnr)
    ssim = [structural_similarity(*pairs[i][j], data_range=1) for i, j in zip(*order, strict=True)]
    return {f"PSNR, {name}": float(psnr[order].mean()), f"SSIM, {name}": float(np.mean(ssim))}


ATTACKS: dict[str, tuple[Callable[[str, argparse.Namespace], dict[str, float]], list[str]]] = {
    "membership": (membership, list(PRIVATE)),
    "inversion": (inversion, [f"{kind}, batch {batch}" for batch in (1, 4) for kind in SEEN]),
}


def main(argv: list[str] | None = None) -> None:
    """Measure what is not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--models", type=int, default=4, help="of membership, each attacked with the others as shadows")
    parser.add_argument("--epochs", type=int, default=60, help="of each model")
    parser.add_argument("--steps", type=int, default=200, help="of inversion")
    parser.add_argument("--size", type=int, default=32, help="of inversion's images")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    args = parser.parse_args(argv)
    for attack in args.attacks:
        measure, settings = ATTACKS[attack]
        numbers = (args.models, args.epochs) if attack == "membership" else (args.steps, args.size)
        path = args.workspace / f"attacks-{attack}-{'-'.join(map(str, (*numbers, args.channels)))}.json"
        found = read_json(path, 2**20, "delete it") if path.exists() else {}
        for setting in settings:
            if setting not in found:
                found[setting] = measure(setting, args)
                write_atomically(path, json.dumps(found, indent=1))
        print(f"\n{attack:44s} " + " ".join(f"{setting:>20s}" for setting in settings))
        for key in found[settings[0]]:
            print(f"{key:44s} " + " ".join(f"{found[setting][key]:20.3f}" for setting in settings))


if __name__ == "__main__":
    main()
