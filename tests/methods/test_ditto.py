# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Ditto against local training, FedAvg and a plain implementation."""

import pytest
import torch
from nvflare.app_opt.pt.fedproxloss import PTFedProxLoss

from flare_mri.errors import InputError
from flare_mri.methods.fedprox import proximal_term
from flare_mri.training.task import training_loader
from tiny import RMSPROP, SGD, Network, Points, assert_equal, copied, learner_of, receivable


@pytest.mark.parametrize("settings", [SGD, RMSPROP], ids=["sgd", "rmsprop"])
def test_without_the_term_the_personal_model_is_local_training(settings) -> None:
    ditto, alone = learner_of("Ditto", settings=settings, ditto_lambda=0.0), learner_of("local-only", settings=settings)
    shared = receivable(ditto)
    for number in range(3):
        ditto.train(shared, number)
        alone.train({}, number)
    assert_equal(ditto.hooks.personal(), alone.network.state_dict())  # type: ignore[arg-type]


@pytest.mark.parametrize("ditto_lambda", [0.0, 0.3])
def test_what_leaves_is_fedavg_s(ditto_lambda: float) -> None:
    ditto, fedavg = learner_of("Ditto", ditto_lambda=ditto_lambda), learner_of("FedAvg")
    shared = receivable(fedavg)
    for number in range(2):
        assert ditto.train(shared, number).loss == fedavg.train(shared, number).loss
        assert_equal(ditto.update(), fedavg.update())


def test_the_term_is_the_paper_s() -> None:
    """v ← v - η (∇F(v) + λ (v - w_G)), step by step, by hand."""
    ditto, weight = learner_of("Ditto", ditto_lambda=0.3), 0.3
    shared = receivable(ditto)
    plain, task = Network(), Points()
    plain.load_state_dict(copied(shared))
    for number in range(2):
        ditto.train(shared, number)
        seed = SGD.seed_of_round("site-1", number)
        for epoch in range(SGD.local_epochs):
            for batch in training_loader(task, seed + epoch):
                plain.zero_grad()
                task.loss(plain, batch).backward()
                with torch.no_grad():
                    for name, v in plain.named_parameters():
                        v -= SGD.lr * (v.grad + weight * (v - shared[name]))
    personal = ditto.hooks.personal()
    assert personal is not None
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(personal[key], value, rtol=1e-5, atol=1e-6)


def test_a_strong_term_holds_the_personal_model_near_the_global_one() -> None:
    moved = []
    for ditto_lambda in (0.0, 1.0, 10.0):
        site = learner_of("Ditto", ditto_lambda=ditto_lambda)
        shared = receivable(site)
        site.train(shared, 0)
        personal = site.hooks.personal()
        assert personal is not None
        moved.append(sum(float((personal[k] - shared[k]).square().sum()) for k in site.shared_parameters))
    assert moved[0] > moved[1] > moved[2] > 0


def test_the_proximal_term_is_flare_s() -> None:
    one, other = Network(), Network()
    names = [name for name, _ in one.named_parameters()]
    for weight in (0.01, 3.0):
        expected = PTFedProxLoss(weight)(one, other)
        assert torch.equal(proximal_term(one, dict(other.named_parameters()), names, weight), expected)


def test_a_personal_model_of_another_network_is_not_taken_up() -> None:
    site = learner_of("Ditto")
    site.train(receivable(site), 0)
    state = site.private_state()
    network = {**state["method"]["network"], "decoder.2.bias": torch.zeros(2)}
    with pytest.raises(InputError, match="Ditto's model: decoder.2.bias: expected shape"):
        learner_of("Ditto").restore({**state, "method": {**state["method"], "network": network}}, 0)
