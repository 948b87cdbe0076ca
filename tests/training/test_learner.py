# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A learner's checks of a server, of its own scores and of its own training."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flare_mri.errors import InputError
from flare_mri.methods import SiteHooks
from flare_mri.methods.fedmri import FedMRIOptions, FedMRISite
from flare_mri.training import Learner, TrainingSettings
from flare_mri.training.learner import MOST_NORMS
from flare_mri.training.task import check_takes_images

NAN, INFINITY = float("nan"), float("inf")


class Points:
    """A task on eight numbers: the network's output is pulled to 1, or to what `target` says."""

    site, key_metric, batch_size, workers, spatial_size, orientations = "site-1", "score", 4, 0, (1, 1), ()
    device = torch.device("cpu")

    def __init__(self, target: float = 1.0):
        self.target = target

    slice_axis, acquisition = 2, None

    def training_data(self, seed: int) -> Any:
        return self.dataset("train")

    def dataset(self, split: str) -> Any:
        return [{"x": torch.full((2, 1, 1), float(number))} for number in range(8)]

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        return (network(batch["x"]) - self.target).square().mean()

    def fingerprint(self) -> str:
        return "points"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1))


def learner(settings: TrainingSettings | None = None, task: Any = None, hooks: SiteHooks | None = None) -> Learner:
    built = network()
    keys = [key for key in built.state_dict() if key.split(".")[0] in ("0", "1")]
    return Learner(built, keys, task or Points(), settings or TrainingSettings(lr=1e-2), hooks or SiteHooks(None))


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in state.items()}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("0.weight", torch.full((3, 2, 1, 1), NAN), "0.weight: expected finite numbers, got 6 of 6"),
        ("0.weight", torch.zeros(3, 2, 1), "0.weight: expected shape"),
        ("0.weight", torch.zeros(3, 2, 1, 1).half(), "0.weight: expected torch.float32 values"),
        ("0.weight", 3.0, "0.weight: expected a tensor, got a float"),
        ("1.running_mean", torch.tensor([0.0, INFINITY, 0.0]), "1.running_mean: expected finite numbers, got 1 of 3"),
        ("1.running_var", torch.tensor([1.0, -1.0, 1.0]), "1.running_var: expected variances"),
        ("2.weight", torch.zeros(1, 3, 1, 1), "2.weight: is not expected"),
        (
            "0.weight",
            torch.full((3, 2, 1, 1), 1e30),
            "global model has parameters of norm 2.45e+30, expected at most 100",
        ),
    ],
)
def test_a_global_model_that_is_none_is_not_loaded(key: str, value: Any, told: str) -> None:
    site = learner()
    before = copied(site.network.state_dict())
    with pytest.raises(InputError, match="^site site-1: global model") as error:
        site.receive({**site.shared_state(), key: value})
    assert told in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in site.network.state_dict().items())
    with pytest.raises(InputError, match="expected tensors by name, got a NoneType"):
        site.receive(None)  # type: ignore[arg-type]


def test_trying_out_in_both_modes_leaves_the_network_as_it_was() -> None:
    site, seen = learner(), []
    before = copied(site.network.state_dict())
    loss = site.task.loss

    def watched(network: nn.Module, batch: Any) -> Tensor:
        seen.append((network.training, len(batch["x"])))
        return loss(network, batch)

    site.task.loss = watched  # type: ignore[method-assign]
    check_takes_images(site.network, site.task)
    assert seen == [(True, site.task.batch_size), (False, site.task.batch_size)]
    assert all(torch.equal(value, before[key]) for key, value in site.network.state_dict().items())


@pytest.mark.parametrize("raised", [ValueError("two\n lines"), KeyError("x"), InputError("two lines")])
def test_whatever_a_network_raises_is_one_line(raised: Exception) -> None:
    site = learner()
    site.task.loss = lambda network, batch: (_ for _ in ()).throw(raised)  # type: ignore[method-assign]
    with pytest.raises(InputError, match="^site site-1: the job's network cannot take this site's images: .*") as error:
        check_takes_images(site.network, site.task)
    assert "\n" not in str(error.value)


def test_the_bound_grows_with_what_the_site_itself_returned() -> None:
    site = learner()
    large = {k: v * 2 * MOST_NORMS if "weight" in k else v for k, v in site.shared_state().items()}
    with pytest.raises(InputError, match="expected at most 100 times"):
        site.receive(large)
    site.previous = {key: value / 10 for key, value in large.items() if key in site.shared_parameters}
    site.receive(large)
    buffers = {k: torch.full_like(v, 1e20) if "running" in k else v for k, v in site.shared_state().items()}
    site.receive(buffers)  # running statistics are as large as the images' values


def test_a_score_that_is_no_number_is_never_best() -> None:
    site = learner()
    for score in (NAN, INFINITY, -INFINITY):
        assert not site.consider_best({"score": score}, 0) and site.best is None
    assert site.consider_best({"score": 1.0}, 1)
    for score in (NAN, INFINITY, 1.0):
        assert not site.consider_best({"score": score}, 2)
    assert site.best is not None and site.best["round"] == 1


def test_a_network_that_training_spoiled_is_told() -> None:
    """One step of finite loss, after which the weights are not finite: no loss tells of them."""
    settings = TrainingSettings(optimizer="sgd")
    object.__setattr__(settings, "lr", 1e38)  # no job may ask for it; a network can be as ill as that by itself
    task = Points(1e3)
    task.batch_size = 8
    site = learner(settings, task)
    with pytest.raises(InputError, match=r"site site-1: .* is not finite after round 2; lower the learning rate"):
        site.train(site.shared_state(), 2)


def test_no_negatives_leave_the_term_out() -> None:
    plain, weighted = (
        learner(hooks=FedMRISite(FedMRIOptions(contrastive_weight=0.0))),
        learner(hooks=FedMRISite(FedMRIOptions(contrastive_weight=5.0, negatives="all"))),
    )
    for site in (plain, weighted):
        assert site.train(site.shared_state(), 3).loss > 0
    assert all(torch.equal(value, plain.shared_state()[key]) for key, value in weighted.shared_state().items())


def test_a_state_of_other_data_or_of_another_network_is_not_taken_up() -> None:
    state, site = learner().private_state(), learner()
    site.restore(state, 3)
    with pytest.raises(InputError, match="private state does not fit this job's network: network: 2.bias: is missing"):
        site.restore({**state, "network": {}}, 3)
    former = {key: value for key, value in state.items() if key != "method"} | {"trajectory": None}
    with pytest.raises(InputError, match="expected this version's, got an earlier one's; start the job under another"):
        site.restore(former, 3)
    site.task.fingerprint = lambda: "other points"  # type: ignore[method-assign]
    with pytest.raises(InputError, match="^site site-1: data or split differ from those of round 3 of this run .a pat"):
        site.restore(state, 3)


@pytest.mark.parametrize(("step", "gamma"), [(20, 0.1), (3, 0.7), (0, 0.1)])
def test_the_learning_rate_is_step_lr_s_to_the_bit(step: int, gamma: float) -> None:
    settings = TrainingSettings(lr=3e-4, lr_step=step, lr_gamma=gamma)
    optimizer = torch.optim.SGD(network().parameters(), lr=settings.lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step or 2**31, gamma)
    for number in range(70):
        assert settings.lr_of_round(number) == optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()


def test_who_joins_late_or_was_away_learns_at_the_job_s_rate() -> None:
    settings = TrainingSettings(lr=1e-2, lr_step=2)
    always, late, away = (learner(settings) for _ in range(3))
    shared = always.shared_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(7):
            always.train(shared, number)
        away.train(shared, 0)
        back = learner(settings)
        back.restore(away.private_state(), 0)
        back.train(shared, 6)
        late.train(shared, 6)
    rates = [site._optimizer.param_groups[0]["lr"] for site in (always, back, late)]
    assert rates[0] == rates[1] == rates[2] == settings.lr_of_round(6) < 2e-5


def test_a_cosine_falls_over_its_rounds_and_stays_there() -> None:
    settings = TrainingSettings(lr=1e-3, lr_schedule="cosine", lr_rounds=10, lr_gamma=0.01)
    optimizer = torch.optim.SGD(network().parameters(), lr=settings.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10, eta_min=1e-5)
    for number in range(11):
        assert settings.lr_of_round(number) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        scheduler.step()
    assert settings.lr_of_round(50) == pytest.approx(1e-5)


def test_gradients_are_scaled_down_to_a_norm() -> None:
    """With SGD a step is the gradient: one step of a steep loss moves the network no further than rate times norm."""
    for most in (0.0, 0.5):
        site = learner(TrainingSettings(optimizer="sgd", lr=0.1, max_grad_norm=most), Steep())
        before = [p.detach().clone() for p in site.network.parameters()]
        site.train(site.shared_state(), 0)
        moved = [p.detach() - q for p, q in zip(site.network.parameters(), before, strict=True)]
        length = float(torch.cat([m.flatten() for m in moved]).norm())
        assert length == pytest.approx(0.05, rel=1e-3) if most else length > 0.1


class Steep(Points):
    """One step a round, with a large gradient."""

    batch_size = 8

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        return 10 * super().loss(network, batch)
