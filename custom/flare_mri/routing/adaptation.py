# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Test-time adaptation of a routed network to an outside site (IOP-FL), without a label and with a way back.

The routers and BatchNorm's affine parameters learn on the site's own slices. Nothing is chosen by labels: the state
after the epoch of the lowest loss counts, for later epochs may leave what that one had found. Slices come in fixed
batches of nearly equal size, the same in adaptation and prediction, for the statistics of the batch are part of the
network. Wherever slices [C, H, W] are spoken of, patches [C, D, H, W] of a three-dimensional network serve as well.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from flare_mri.datasets.pieces import batches_of, check_pieces, run_batches
from flare_mri.routing.losses import TestTimeLoss, entropy
from flare_mri.routing.network import adaptable_parameters, record_routing

MIN_SLICES = 4  # below, the statistics of a batch are those of one or two images

Slices = Tensor | Sequence[Tensor]


@dataclass(frozen=True)
class SiteView:
    """Predictions of a network on all slices of a site, as far as they can be judged without labels.

    Attributes:
        entropy: mean over all pixels of the normalised class entropy, in [0, 1].
        foreground: share of pixels whose likeliest class is not the background.
        routing: by layer, the mean routing weight of each expert; empty for a network that is not routed.
    """

    entropy: float
    foreground: float
    routing: Mapping[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class AdaptationReport:
    """Record of an adaptation; nothing in it was measured with labels, and no number belongs to a single slice.

    Attributes:
        slices: number of slices of the site, or of patches.
        epochs: epochs run; 0 where there were too few slices.
        seconds: wall time of the adaptation, without the evaluations before and after.
        fallback: why the global model's predictions must be used; None where the adapted network may be.
        global_model: the plain global model on the site.
        before, after: the routed network before and after; None where there were too few slices.
        movement: by layer, mean over experts of the absolute change of the mean routing weight.
        losses: for each epoch the mean over its batches of "loss", "entropy", "consistency" and "shape".
        kept_epoch: the epoch, counted from 1, whose state the network was left in; 0 where there was none.
    """

    slices: int
    epochs: int
    seconds: float
    fallback: str | None
    global_model: SiteView
    before: SiteView | None = None
    after: SiteView | None = None
    movement: Mapping[str, float] = field(default_factory=dict)
    losses: Sequence[Mapping[str, float]] = ()
    kept_epoch: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON: nested dicts, lists, numbers and strings."""
        return asdict(self)


def adapt(
    routed: nn.Module,
    global_model: nn.Module,
    slices: Slices,
    epochs: int = 10,
    lr: float = 1e-3,
    batch_size: int = 16,
    seed: int = 0,
    loss: TestTimeLoss | None = None,
    min_slices: int = MIN_SLICES,
    min_foreground: float = 0.1,
    after_epoch: Callable[[int, Mapping[str, float]], None] = lambda epoch, terms: None,
) -> AdaptationReport:
    """Adapts ``routed`` in place to the slices of a site with Adam.

    Args:
        routed: of :func:`flare_mri.routing.network.build_routed_network`.
        global_model: the plain network with the global weights, to compare with and to fall back to.
        slices: [N, C, H, W], or any sequence of N tensors [C, H, W] of one size (a dataset without labels); patches
            [N, C, D, H, W] for a three-dimensional network.
        epochs: passes over the slices.
        lr: learning rate.
        batch_size: the most slices in a batch.
        seed: of noise, turns and dropout; the caller's random state is left as it was.
        loss: by default the paper's, its entropy a mean over pixels; ``TestTimeLoss(entropy_reduction="published")``
            weighs it as the published code does, B / 2 times as much in batches of B slices.
        min_slices: fewer, of whatever was given, are not adapted to.
        min_foreground: the adaptation has collapsed where it marks less than this share of the foreground that the
            global model marks, or none at all.
        after_epoch: called with the number of finished epochs and the epoch's mean terms of the loss, to tell progress;
            what it raises ends the adaptation.

    Returns:
        The report. Where its ``fallback`` says why, use the global model.

    Raises:
        InputError: there are no slices, or ``batch_size`` is below 2.
    """
    check_pieces(slices, batch_size)
    count, global_view = len(slices), examine(global_model, slices, batch_size)
    if reason := too_few(slices, min_slices):
        return AdaptationReport(count, 0, 0.0, reason, global_view)
    before = examine(routed, slices, batch_size)
    start = time.perf_counter()
    losses, kept_epoch = _learn(routed, slices, batch_size, epochs, lr, seed, loss or TestTimeLoss(), after_epoch)
    seconds = time.perf_counter() - start
    after = examine(routed, slices, batch_size)
    return AdaptationReport(
        slices=count,
        epochs=len(losses),
        seconds=seconds,
        fallback=collapse(global_view, after, losses, min_foreground),
        global_model=global_view,
        before=before,
        after=after,
        movement={
            name: sum(abs(a - b) for a, b in zip(after.routing[name], weights, strict=True)) / len(weights)
            for name, weights in before.routing.items()
        },
        losses=losses,
        kept_epoch=kept_epoch,
    )


def too_few(slices: Slices, least: int = MIN_SLICES) -> str | None:
    """Why so many slices are not enough for their statistics, or None."""
    if len(slices) >= least:
        return None
    what = "patches" if are_patches(slices) else "slices"
    return f"{len(slices)} {what}, expected at least {least}: too few for the statistics of a batch"


def are_patches(slices: Slices) -> bool:
    """Whether samples are patches [C, D, H, W] rather than slices [C, H, W]."""
    return slices[0].dim() == 4


def examine(network: nn.Module, slices: Slices, batch_size: int = 16) -> SiteView:
    """Certainty of ``network`` on the site's ``slices``, the share that it marks, and the routing of its layers."""
    total = foreground = 0.0
    with record_routing(network) as recorded:
        for _, _, logits in run_batches(network, slices, batch_size):
            total += entropy(logits).item() * len(logits)
            foreground += (logits.argmax(dim=1) > 0).float().mean().item() * len(logits)
    # A layer may never run: EfficientNet has its classifier also as the encoder of a U-Net.
    routing = {name: torch.cat(weights).mean(0).tolist() for name, weights in recorded.items() if weights}
    return SiteView(total / len(slices), foreground / len(slices), routing)


def _learn(
    routed: nn.Module,
    slices: Slices,
    batch_size: int,
    epochs: int,
    lr: float,
    seed: int,
    loss: TestTimeLoss,
    after_epoch: Callable[[int, Mapping[str, float]], None],
) -> tuple[list[dict[str, float]], int]:
    """The epochs; stops at a loss that is not finite. Returns the mean terms of each epoch and the one it kept."""
    parameters = adaptable_parameters(routed)
    kept, kept_epoch, lowest = [p.detach().clone() for p in parameters], 0, math.inf
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)
    device = _device(routed)
    history: list[dict[str, float]] = []
    routed.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(seed)
        for _ in range(epochs):
            steps: list[dict[str, float]] = []
            for _, images in batches_of(slices, batch_size):
                value, terms = loss(routed, images.to(device))
                steps.append({"loss": value.item(), **terms})
                if not math.isfinite(steps[-1]["loss"]):
                    return [*history, steps[-1]], 0  # left as it is: there is no state to use
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
            history.append({key: sum(step[key] for step in steps) / len(steps) for key in steps[0]})
            after_epoch(len(history), history[-1])
            if history[-1]["loss"] < lowest:
                kept, kept_epoch, lowest = [p.detach().clone() for p in parameters], len(history), history[-1]["loss"]
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    return history, kept_epoch


def collapse(
    reference: SiteView,
    after: SiteView,
    losses: Sequence[Mapping[str, float]],
    min_foreground: float,
    what: str = "the adapted network",
) -> str | None:
    """Why a network made for the site is of no use, or None."""
    if not all(math.isfinite(epoch["loss"]) for epoch in losses) or not math.isfinite(after.entropy):
        return f"the loss or the prediction is not finite after {len(losses)} epochs"
    if after.foreground == 0:
        return f"{what} marks every pixel as background"
    if after.foreground < min_foreground * reference.foreground:
        return (
            f"{what} marks {after.foreground:.3%} of all pixels, the global model "
            f"{reference.foreground:.3%}: it collapsed towards the background"
        )
    return None


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
