# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The moving average of weights: its numbers, its survival, who has none; mixed precision leaves a CPU alone."""

import io
from typing import Any

import pytest
import torch

from flare_mri.config.training import TrainingSettings
from flare_mri.errors import InputError
from flare_mri.flare.executors.personalized import PersonalizedExecutor
from flare_mri.networks.unrolled import UnrolledNetwork
from flare_mri.training import Learner
from flare_mri.training.precision import autocast
from flare_mri.training.weight_average import WeightAverage
from tiny import Network, Points, hooks_of

SETTINGS = TrainingSettings(optimizer="sgd", lr=0.05, lr_step=0, local_epochs=2, weight_average=0.8)


def build(settings: TrainingSettings = SETTINGS, method: str = "local-only") -> Learner:
    torch.manual_seed(0)
    return Learner(Network(), [], Points(), settings, hooks_of(method))


def test_it_is_the_average_of_the_steps() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(network, 0.3)
    assert average.network_state() is None
    expected = None
    for step, weight in enumerate([5.0, 1.0, 3.0, 9.0]):
        torch.nn.init.constant_(network.weight, weight)
        average.update(network)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
    state = average.network_state()
    assert state is not None and float(state["weight"]) == pytest.approx(expected)


def test_it_is_the_personal_model_and_training_stays_the_same() -> None:
    learner, plain = build(), build(SETTINGS.model_copy(update={"weight_average": 0.0}))
    assert learner.personal() is None and plain.personal() is None
    for one in (learner, plain):
        one.train({}, 0)
    personal = learner.personal()
    assert personal is not None and plain.personal() is None
    assert any(not torch.equal(personal[key], value) for key, value in learner.network.state_dict().items())
    for key, value in plain.network.state_dict().items():
        assert torch.equal(learner.network.state_dict()[key], value)


def test_it_goes_on_in_another_process() -> None:
    whole, first = build(), build()
    whole.train({}, 0)
    first.train({}, 0)
    file = io.BytesIO()
    torch.save(first.private_state(), file)
    file.seek(0)
    second = build()
    second.restore(torch.load(file, weights_only=True), 0)
    whole.train({}, 1)
    second.train({}, 1)
    one, other = whole.personal(), second.personal()
    assert one is not None and other is not None
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_state_of_another_network_or_version_is_refused() -> None:
    learner = build()
    learner.train({}, 0)
    state: dict[str, Any] = learner.private_state()
    state["average"]["module.encoder.0.weight"] = torch.zeros(1)
    with pytest.raises(InputError, match="average"):
        build().restore(state, 0)
    del state["average"]
    with pytest.raises(InputError, match="expected this version's"):
        build().restore(state, 0)


@pytest.mark.parametrize(("method", "task"), [("IOP-FL", "segmentation"), ("Ditto", "segmentation")])
def test_a_method_with_a_personal_model_has_no_other(method: str, task: str) -> None:
    with pytest.raises(InputError, match=f"weight_average: expected none for {method}"):
        PersonalizedExecutor("job", method, task, {"path": "UNet"}, "all", {"weight_average": 0.9})


def test_mixed_precision_is_for_a_gpu() -> None:
    with autocast(torch.device("cpu"), "bfloat16"):
        assert not torch.is_autocast_enabled("cpu")
    assert autocast(torch.device("cuda"), "float32")._enabled is False


def test_the_default_network_takes_mixed_precision() -> None:
    torch.manual_seed(0)
    network = UnrolledNetwork(num_cascades=2, regulariser_args={"channels": 8, "num_pools": 2})
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    kspace = torch.randn(1, 2, 32, 32, dtype=torch.complex64)
    maps = torch.full_like(kspace, 0.5**0.5)
    mask = torch.rand(1, 1, 32, 32) < 0.5
    full = network(kspace, mask, maps)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(kspace, mask, maps)
    assert mixed.dtype == torch.float32 and not torch.equal(mixed, full)
    assert (mixed - full).norm() < 0.02 * full.norm()
    mixed.mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
