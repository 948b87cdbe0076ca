# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Gradient inversion: an image from one step's change of FedMRI's encoder.

The attack is the server's, in the first round, where it knows the private decoder too, since the job's seed made it; it
is given the mask, and that there was one step. Gradients are matched by their cosine with a prior of total variation
(Geiping et al., NeurIPS 2020, arXiv 2003.14053).
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from example_sites import open_example
from scipy.optimize import linear_sum_assignment
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from flare_mri.networks import UNet
from flare_mri.physics.fourier import fft2c, ifft2c
from flare_mri.training import build_task
from flare_mri.transforms.masks import make_mask


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
