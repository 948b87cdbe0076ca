# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""SCAFFOLD against the paper's algorithm written down plainly, against FLARE's helper, and against FedAvg."""

import copy
from typing import Any

import pytest
import torch
from nvflare.app_opt.pt.scaffold import PTScaffoldHelper
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.methods import METHODS
from flare_mri.training import Learner
from flare_mri.training.task import training_loader
from tiny import RMSPROP, SGD, Network, Points, assert_equal, copied, learner_of, mean, receivable

SITES = ["site-1", "site-2", "site-3"]
ROUNDS = 3


def control(name: str) -> str:
    return f"control_variate.{name}"


def federate(learners: list[Learner], rounds: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Global model and control variate after some rounds, by the method's own parts."""
    server = METHODS["SCAFFOLD"].server(None)
    shared = learners[0].shared_state()
    server.begin_job({name: shared[name] for name in learners[0].shared_parameters})
    for number in range(rounds):
        extra, updates = server.extra(), []
        for learner in learners:
            learner.train(copied(shared | extra), number)
            updates.append(learner.update())
        averaged = mean(updates)
        shared = {key: averaged[key] for key in shared}
        server.after_round(shared, {}, {key: averaged[key] for key in extra}, 1.0)
    return shared, server.extra()


def plainly(rounds: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Algorithm 1 of the paper with option II, in a loop that a reader can follow."""
    torch.manual_seed(0)
    x = copied(Network().state_dict())
    names = [name for name, _ in Network().named_parameters()]
    c = {name: torch.zeros_like(x[name]) for name in names}
    own = {site: copied(c) for site in SITES}
    for number in range(rounds):
        models, deltas = [], []
        for site in SITES:
            y, task, steps = Network(), Points(site), 0
            y.load_state_dict(x)
            for epoch in range(SGD.local_epochs):
                for batch in training_loader(task, SGD.seed_of_round(site, number) + epoch):
                    y.zero_grad()
                    task.loss(y, batch).backward()
                    with torch.no_grad():
                        for name, parameter in y.named_parameters():
                            parameter -= SGD.lr * (parameter.grad - own[site][name] + c[name])
                    steps += 1
            state = copied(y.state_dict())
            new = {n: own[site][n] - c[n] + (x[n] - state[n]) / (steps * SGD.lr) for n in names}
            deltas.append({n: new[n] - own[site][n] for n in names})
            own[site] = new
            models.append(state)
        x = mean(models)
        c = {name: c[name] + mean(deltas)[name] for name in names}
    return x, c


def test_is_the_paper_s_algorithm() -> None:
    shared, extra = federate([learner_of("SCAFFOLD", site) for site in SITES], ROUNDS)
    expected, c = plainly(ROUNDS)
    for name, value in expected.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-5)
    for name, value in c.items():
        torch.testing.assert_close(extra[control(name)], value, rtol=1e-3, atol=1e-5)
        assert float(value.abs().max()) > 1e-4 or "decoder.0.bias" in name or "encoder.0.bias" in name


def test_is_what_flare_s_helper_does_for_plain_sgd() -> None:
    site, names = learner_of("SCAFFOLD"), [name for name, _ in Network().named_parameters()]
    generator = torch.Generator().manual_seed(3)
    shared, helper, network = site.shared_state(), PTScaffoldHelper(), Network()
    helper.init(network)
    for number in range(ROUNDS):
        c = {name: 0.05 * torch.randn(shared[name].shape, generator=generator) for name in names}
        site.train(shared | {control(name): value for name, value in c.items()}, number)
        network.load_state_dict(shared)
        received, task = copy.deepcopy(network), Points()
        helper.load_global_controls(c)
        c_global, c_local = helper.get_params()
        for epoch in range(SGD.local_epochs):
            for batch in training_loader(task, SGD.seed_of_round("site-1", number) + epoch):
                network.zero_grad()
                task.loss(network, batch).backward()
                with torch.no_grad():
                    for parameter in network.parameters():
                        parameter -= SGD.lr * parameter.grad
                helper.model_update(network, SGD.lr, c_global, c_local)
        helper.terms_update(network, SGD.lr, c_global, c_local, received)
        update = site.update()
        for name in names:
            torch.testing.assert_close(update[name], network.state_dict()[name], rtol=1e-4, atol=1e-5)
            delta = torch.as_tensor(helper.get_delta_controls()[name])
            torch.testing.assert_close(update[control(name)], delta, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("settings", [SGD, RMSPROP], ids=["sgd", "rmsprop"])
def test_zero_control_variates_are_fedavg(settings: Any) -> None:
    scaffold, fedavg = learner_of("SCAFFOLD", settings=settings), learner_of("FedAvg", settings=settings)
    for number in range(2):
        scaffold.hooks.restore({"control": {}}, scaffold)
        assert scaffold.train(receivable(scaffold), number).loss == fedavg.train(receivable(fedavg), number).loss
        assert_equal(scaffold.shared_state(), fedavg.shared_state())


def test_with_rmsprop_a_control_variate_is_the_mean_of_gradients() -> None:
    """In the size of gradients, not of the optimizer's steps."""
    site, gradients = learner_of("SCAFFOLD", settings=RMSPROP), []
    backward = site.hooks.after_backward

    def watched(learner: Learner, step: int) -> None:
        gradients.append({name: p.grad.clone() for name, p in learner.network.named_parameters()})  # type: ignore[union-attr]
        backward(learner, step)

    site.hooks.after_backward = watched  # type: ignore[method-assign]
    site.train(receivable(site), 0)
    for name in site.shared_parameters:
        expected = torch.stack([gradient[name] for gradient in gradients]).mean(0)
        torch.testing.assert_close(site.update()[control(name)], expected)


def test_a_part_of_the_sites_moves_the_server_by_its_share() -> None:
    server = METHODS["SCAFFOLD"].server(None)
    server.begin_job({"w": torch.ones(2)})
    server.after_round({}, {}, {control("w"): torch.full((2,), 4.0)}, 0.25)
    server.after_round({}, {}, {control("w"): torch.full((2,), 1.0)}, 1.0)
    again = METHODS["SCAFFOLD"].server(None)
    again.restore(server.state())
    assert torch.equal(again.extra()[control("w")], torch.full((2,), 2.0))


def test_what_a_server_sends_in_place_of_a_control_variate() -> None:
    site = learner_of("SCAFFOLD")
    good, key = receivable(site), control("encoder.0.weight")
    for bad, told in (
        ({**good, key: torch.full_like(good[key], float("nan"))}, "expected finite numbers"),
        ({**good, key: torch.zeros(1)}, "expected shape"),
        ({k: v for k, v in good.items() if k != key}, "is missing"),
        ({**good, control("encoder.1.running_mean"): torch.zeros(3)}, "is not expected"),
        ({**good, key: torch.full_like(good[key], 1e9)}, "control variate of norm .*, expected at most 100 times"),
    ):
        before = copied(dict(site.network.named_parameters()))
        with pytest.raises(InputError, match=told):
            site.train(bad, 0)
        assert_equal(dict(site.network.named_parameters()), before)


def test_only_shared_parameters_have_control_variates() -> None:
    site = learner_of("SCAFFOLD", layers="encoder")
    assert {key.split(".")[1] for key in site.hooks.extra_like(site)} == {"encoder"}
    site.train(receivable(site), 0)
    names = [*site.shared, *map(control, site.shared_parameters)]
    assert sorted(site.update()) == sorted(names)
