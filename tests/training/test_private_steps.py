# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Steps with differential privacy: what one patient can change, what noise there is, whom a step takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flare_mri.config.site import SiteConfig, SplitSettings
from flare_mri.config.training import TrainingSettings
from flare_mri.datasets.phantom import phantom_site
from flare_mri.errors import InputError
from flare_mri.io.phantom import PhantomSettings
from flare_mri.networks import UNet, UnrolledNetwork, shared_keys
from flare_mri.training import Learner, build_task
from flare_mri.training.privacy_ledger import PrivacyLedger
from flare_mri.training.private_steps import PrivateSteps, check_network
from tiny import SGD, Points, hooks_of

opacus = pytest.importorskip("opacus")
RUN = "a" * 32


class Patients(Points):
    """Twelve slices of four patients."""

    apart = True

    def private_data(self, seed: int) -> tuple[Any, list[str]]:
        return self.dataset("train"), [f"patient-{place // 3}" for place in range(12)]


class Linear(nn.Module):
    """A network without normalisation, with an encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.decoder(self.encoder(image))


def private(tmp_path: Path, task: Any = None, rounds: int = 1, epochs: int = 1, **settings: Any) -> PrivateSteps:
    chosen = SGD.model_copy(update={"dp_noise_multiplier": None if "dp_epsilon" in settings else 1e-6, **settings})
    return PrivateSteps(chosen, task or Patients(), epochs, rounds, PrivacyLedger(tmp_path, "site-1"), RUN, "job")


def gradient(steps: PrivateSteps, samples: Sequence[Any], network: nn.Module) -> Tensor:
    for parameter in network.parameters():
        parameter.grad = None
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad])
    steps.differentiate(network, optimizer, list(samples), steps.task.loss)
    expected = steps.rate * len(steps._units)
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]) * expected


def sample(task: Any, place: int, scale: float = 1.0) -> dict[str, Tensor]:
    return {key: scale * value[None] for key, value in task.dataset("train")[place].items()}


def test_one_patient_changes_a_step_by_no_more_than_the_clipping_norm(tmp_path: Path) -> None:
    steps, network = private(tmp_path, dp_max_grad_norm=0.5), Linear()
    others = [sample(steps.task, place) for place in (0, 3)]
    extreme = sample(steps.task, 6, 1e3)
    difference = gradient(steps, [*others, extreme], network) - gradient(steps, others, network)
    assert 0.49 < difference.norm() <= 0.5 + 1e-4
    plain = torch.autograd.grad(steps.task.loss(network, extreme), list(network.parameters()))
    assert torch.cat([g.flatten() for g in plain]).norm() > 1e3, "without clipping it would be far more"


def test_a_patient_whose_gradient_overflows_is_bounded_too(tmp_path: Path) -> None:
    """A server could choose weights with which one patient's does, and see the round fail."""
    steps, network = private(tmp_path, dp_max_grad_norm=0.5), Linear()
    endless = {"x": torch.full((1, 2, 2, 2), 1e30), "y": torch.zeros(1, 1, 2, 2)}
    found = gradient(steps, [endless], network)
    assert (
        not torch.isfinite(steps.task.loss(network, endless)) and found.isfinite().all() and found.norm() < 0.5 + 1e-4
    )


def test_a_step_is_the_mean_of_clipped_gradients(tmp_path: Path) -> None:
    """Against the definition, of a network that folds pixels into the batch, where Opacus' hooks are wrong."""

    class Folding(Linear):
        def forward(self, image: Tensor) -> Tensor:
            pixels = image.movedim(1, -1).reshape(-1, 2, 1, 1)
            return super().forward(pixels).reshape(len(image), 1, 2, 2)

    steps, network = private(tmp_path, dp_max_grad_norm=1.5), Folding()
    samples = [sample(steps.task, place) for place in (0, 4, 8)]
    total = torch.zeros(())
    for one in samples:
        grads = torch.autograd.grad(steps.task.loss(network, one), list(network.parameters()))
        flat = torch.cat([g.flatten() for g in grads])
        total = total + flat * min(1.0, 1.5 / float(flat.norm()))
    assert torch.allclose(gradient(steps, samples, network), total, atol=1e-4)


def test_noise_is_of_the_size_that_is_accounted_for_and_no_seed_gives_it_again(tmp_path: Path) -> None:
    steps, network = private(tmp_path, dp_noise_multiplier=2.0, dp_max_grad_norm=3.0), nn.Conv2d(2, 1, 60)
    torch.manual_seed(0)
    first = gradient(steps, [], network)
    torch.manual_seed(0)
    assert first.std().item() == pytest.approx(6.0, rel=0.05) and abs(first.mean().item()) < 0.4
    assert not torch.equal(first, gradient(steps, [], network))
    other = private(tmp_path, dp_noise_multiplier=2.0, dp_max_grad_norm=3.0)
    assert not torch.equal(first, gradient(other, [], network))


def test_steps_take_patients_independently_and_one_slice_of_each(tmp_path: Path) -> None:
    task = Patients()
    task.batch_size = 2
    steps = private(tmp_path, task)
    assert (steps.rate, steps.steps) == (0.5, 6)
    places = {value.sum().item(): place for place, value in enumerate(task.inputs)}
    taken = [[places[s["x"].sum().item()] for s in batch] for _ in range(60) for batch in steps.batches()]
    assert all(len({place // 3 for place in batch}) == len(batch) for batch in taken)
    assert {len(batch) for batch in taken} == {0, 1, 2, 3, 4} and {p for batch in taken for p in batch} == set(
        range(12)
    )
    assert sum(map(len, taken)) / len(taken) == pytest.approx(2, abs=0.3)


def test_what_wants_no_gradient_gets_no_noise(tmp_path: Path) -> None:
    network = Linear()
    network.encoder.requires_grad_(False)
    gradient(private(tmp_path), [], network)
    assert network.encoder.weight.grad is None and network.decoder.weight.grad is not None


def test_the_noise_that_an_epsilon_needs(tmp_path: Path) -> None:
    from opacus.accountants import RDPAccountant

    steps = private(tmp_path, rounds=5, epochs=2, dp_epsilon=3.0, dp_unit="slice")
    accountant = RDPAccountant()
    for _ in range(5 * 2 * steps.steps):
        accountant.step(noise_multiplier=steps.noise_multiplier, sample_rate=steps.rate)
    assert 2.98 < accountant.get_epsilon(1e-5) <= 3.0
    for _ in range(5):
        steps.begin_round()
    assert steps.metrics()["privacy/epsilon"] == pytest.approx(accountant.get_epsilon(1e-5))
    with pytest.raises(InputError, match="dp_epsilon of the job: expected at most 3 at δ 1e-05, got 3"):
        steps.begin_round()


def test_a_method_term_without_images_is_added_after_the_noise(tmp_path: Path) -> None:
    """FedMRI's term pushes with its full weight, whatever the clipping norm; its gradient depends on weights alone."""
    tiny_noise = SGD.model_copy(update={"dp_noise_multiplier": 1e-6, "dp_max_grad_norm": 1e-2, "lr": 1e-2})
    changes = {}
    for weight in (0.0, 50.0):
        torch.manual_seed(0)
        network, task = Linear(), Patients()
        keys = shared_keys(network, "encoder")
        steps = PrivateSteps(tiny_noise, task, 2, 2, PrivacyLedger(tmp_path, "site-1"), RUN, "job")
        hooks = hooks_of("FedMRI", contrastive_weight=weight)
        learner = Learner(network, keys, task, tiny_noise, hooks, private=steps)  # type: ignore[arg-type]
        first = learner.shared_state()
        learner.train(first, 0)
        moved = {key: value + 0.1 for key, value in first.items()}
        learner.train(moved, 1)
        changes[weight] = max(float((learner.shared_state()[key] - moved[key]).abs().max()) for key in keys)
    assert 0 < changes[0.0] < 6 * 1e-2 * 1e-2 < changes[50.0] / 10  # steps of the clipping norm at most


@pytest.mark.parametrize("network", [UNet(channels=4, num_pools=1, norm="batch"), nn.BatchNorm2d(3, affine=False)])
def test_networks_in_which_patients_meet_are_refused(network: nn.Module) -> None:
    with pytest.raises(InputError, match=r"^site s: network: .* got BatchNorm2d \(.*\); give --norm group"):
        check_network(network, "site s")


def test_networks_that_can_be_trained_privately() -> None:
    for network in (
        UNet(channels=4, num_pools=1),
        UNet(channels=4, num_pools=1, norm="group"),
        UnrolledNetwork(num_cascades=1, sensitivity_channels=4, shared_cascades=True, data_consistency="soft"),
    ):
        check_network(network, "site s")


@pytest.mark.parametrize("channels", [1, 3, 4, 12, 32])
def test_group_norm_of_any_width_and_at_a_bottleneck_of_one_pixel(channels: int) -> None:
    network = UNet(channels=channels, num_pools=2, norm="group").train()
    assert network(torch.randn(1, 1, 4, 4)).isfinite().all()


def test_segmentation_protects_patients_and_does_not_balance_over_them(tmp_path: Path) -> None:
    data = PhantomSettings(format="phantom", subjects=6, spatial_size=(32, 32))
    split = SplitSettings(train=0.5, validation=0.0, test=0.5, by="volume")
    config = SiteConfig(site="site-1", data=data, split=split, mask=phantom_site("site-1").mask, batch_size=2)
    config = config.model_copy(update={"cache": config.cache.model_copy(update={"folder": tmp_path / "cache"})})
    settings = TrainingSettings(dp_noise_multiplier=1.0)
    task = build_task("segmentation", config, 0, training=settings)
    samples, patients = task.private_data(0)
    assert len(patients) == len(samples) == len(task.dataset("train")) and len(set(patients)) == 3  # type: ignore[arg-type]
    ledger = PrivacyLedger(tmp_path, "site-1")
    steps = PrivateSteps(settings, task, 1, 1, ledger, RUN, "job")
    assert steps.rate == pytest.approx(2 / 3) and sorted(map(len, steps._units))[0] > 1
    network = UNet(in_channels=3, out_channels=2, channels=4, num_pools=2, norm="group")
    assert gradient(steps, next(batch for batch in steps.batches() if batch), network).isfinite().all()
    by_slice = TrainingSettings(dp_noise_multiplier=1.0, dp_unit="slice")
    with pytest.raises(InputError, match="dp_unit: expected patient, since a sample of this task is made of several"):
        PrivateSteps(by_slice, task, 1, 1, ledger, RUN, "job")
