# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI with the unrolled network: the encoders of its cascades travel, and its term works on them alone."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flare_mri.config.network import UNROLLED
from flare_mri.methods.weighted_contrastive import WeightedContrastive
from flare_mri.networks import build_network, shared_keys
from flare_mri.training import Learner, TrainingSettings
from multi_coil import make_scan
from tiny import Points, assert_equal, copied, hooks_of, mean, receivable

ADAM = TrainingSettings(optimizer="adam", lr=1e-3, lr_step=0, local_epochs=2)
SPEC = {
    "path": UNROLLED,
    "args": {"num_cascades": 2, "regulariser_args": {"channels": 2, "num_pools": 1}, "data_consistency": "soft"},
}


class Scans(Points):
    """A task on four small scans of three coils."""

    batch_size = 2

    def dataset(self, split: str) -> Any:
        scans = [make_scan((16, 16), 3, step=2, centre=4, seed=seed) for seed in range(4)]
        return [
            {"kspace": s.kspace[0], "mask": s.mask[0], "sensitivities": s.maps[0], "target": s.image[0].abs()}
            for s in scans
        ]

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        output = network(batch["kspace"], batch["mask"], batch["sensitivities"])
        return (output - batch["target"]).abs().mean()


def learner(**options: Any) -> Learner:
    network = build_network(SPEC, seed=0)
    hooks = hooks_of("FedMRI", **options)
    return Learner(network, shared_keys(network, "encoder"), Scans(), ADAM, hooks)


def rounds(learner: Learner, count: int) -> dict[str, Tensor]:
    """As many rounds of a federation whose other site always answers with what it began with; what the server has."""
    other = receivable(learner)
    received = other
    for number in range(count):
        learner.train(received, number)
        received = mean([learner.update(), other])
    return received


def test_encoders_travel_and_all_of_the_network_learns() -> None:
    site = learner()
    before = copied(site.network.state_dict())
    update = rounds(site, 2)
    assert {tuple(key.split(".")[:2]) for key in update} == {("encoder", "0"), ("encoder", "1")}
    for key, value in site.network.state_dict().items():
        assert not torch.equal(value, before[key]), key


def test_the_term_takes_the_encoders_of_all_cascades(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[torch.Size]] = []
    original = WeightedContrastive.add_gradient_

    def watch(term: WeightedContrastive, parameters: Any, weight: float) -> Tensor:
        seen.append([p.shape for p in parameters])
        return original(term, parameters, weight)

    monkeypatch.setattr(WeightedContrastive, "add_gradient_", watch)
    site = learner()
    rounds(site, 1)
    assert not seen, "no negatives yet"
    rounds(site, 2)
    assert seen and all(shapes == [p.shape for p in site.network.encoder.parameters()] for shapes in seen)


def test_without_the_term_it_is_encoder_sharing_and_with_it_something_else() -> None:
    plain, weightless, full = learner(contrastive_weight=0), learner(negatives="none"), learner(contrastive_weight=10)
    states = [rounds(site, 3) for site in (plain, weightless, full)]
    assert_equal(states[0], states[1])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_a_restored_site_goes_on_as_if_it_had_not_stopped() -> None:
    whole = rounds(learner(), 3)
    first = learner()
    received = rounds(first, 2)
    second = learner()
    other = receivable(second)
    second.restore(copied(first.private_state()), 1)
    second.train(received, 2)
    assert_equal(mean([second.update(), other]), whole)
