# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A task small enough to train in milliseconds, with an encoder, a decoder and batch normalisation."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flare_mri.methods import METHODS, SiteHooks
from flare_mri.networks import shared_keys
from flare_mri.training import Learner, TrainingSettings

SGD = TrainingSettings(optimizer="sgd", lr=0.05, lr_step=0, local_epochs=2)
RMSPROP = TrainingSettings(lr=1e-2, lr_step=0, local_epochs=2)


class Points:
    """A task on twelve random images of four pixels."""

    key_metric, batch_size, workers, spatial_size, orientations = "score", 4, 0, (2, 2), ()
    device = torch.device("cpu")

    def __init__(self, site: str = "site-1"):
        self.site = site
        generator = torch.Generator().manual_seed(len(site) + ord(site[-1]))
        self.inputs = torch.randn(12, 2, 2, 2, generator=generator)
        self.outputs = self.inputs.sum(1, keepdim=True) + torch.randn(12, 1, 2, 2, generator=generator)

    slice_axis = 2

    def training_data(self, seed: int) -> Any:
        return self.dataset("train")

    def dataset(self, split: str) -> Any:
        return [{"x": x, "y": y} for x, y in zip(self.inputs, self.outputs, strict=True)]

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        return (network(batch["x"]) - batch["y"]).square().mean()

    def fingerprint(self) -> str:
        return self.site


class Network(nn.Module):
    """Encoder with batch normalisation, decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Tanh())
        self.decoder = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.decoder(self.encoder(image))


def hooks_of(method: str, **options: Any) -> SiteHooks:
    """The method's part at a site."""
    found = METHODS[method]
    return found.site(found.options.read(options, method))


def learner_of(
    method: str, site: str = "site-1", settings: TrainingSettings = SGD, layers: str = "", **options: Any
) -> Learner:
    """A site's learner of a method, with the same initial weights in every call."""
    torch.manual_seed(0)
    network = Network()
    shared = shared_keys(network, layers or METHODS[method].shared_layers)
    return Learner(network, shared, Points(site), settings, hooks_of(method, **options))


def receivable(learner: Learner) -> dict[str, Tensor]:
    """Message of a server at the beginning: the initial shared part, and zeros for further tensors."""
    extra = {key: torch.zeros_like(value) for key, value in learner.hooks.extra_like(learner).items()}
    return learner.shared_state() | extra


def mean(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Plain average; of integers the largest."""
    stacked = {key: torch.stack([state[key] for state in states]) for key in states[0]}
    return {k: v.mean(0) if v.is_floating_point() else v.amax(0) for k, v in stacked.items()}


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy that training does not change."""
    return copy.deepcopy(dict(state))


def assert_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """To the bit."""
    assert one.keys() == other.keys()
    assert not [key for key, value in one.items() if not torch.equal(value, other[key])]
