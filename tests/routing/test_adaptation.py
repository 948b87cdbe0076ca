# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Adaptation of a small routed network to a site without labels, and the ways in which it gives up."""

import copy
import json

import pytest
import torch
from monai.networks.nets import BasicUNet, SegResNet
from torch import nn

from flare_mri.datasets.pieces import batches_of, in_order, run_batches
from flare_mri.errors import InputError
from flare_mri.networks.unet import UNet
from flare_mri.routing import (
    TestTimeLoss,
    adapt,
    build_routed_network,
    examine,
    find_routed_layers,
    fix_routing,
)


def _unet() -> UNet:
    return UNet(in_channels=3, out_channels=2, channels=4, num_pools=2, norm="batch", negative_slope=0.0)


@pytest.fixture
def global_model() -> nn.Module:
    torch.manual_seed(7)
    return _unet().eval()


@pytest.fixture
def routed(global_model) -> nn.Module:
    torch.manual_seed(0)
    return build_routed_network(
        global_model, [_unet().state_dict(), _unet().state_dict(), global_model.state_dict()], seed=1
    )


@pytest.fixture
def slices() -> torch.Tensor:
    return torch.randn(9, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_adaptation_lowers_the_entropy_and_says_what_moved(routed, global_model, slices):
    report = adapt(routed, global_model, slices, epochs=2, batch_size=4, min_foreground=0.0)
    assert report.fallback is None and report.epochs == 2 and report.slices == 9 and report.seconds > 0
    assert report.after.entropy < report.before.entropy
    assert list(report.movement) == list(find_routed_layers(routed))
    assert all(0 < moved < 1 for moved in report.movement.values())
    assert len(report.losses) == 2 and set(report.losses[0]) == {"loss", "entropy", "consistency", "shape"}
    assert report.after == examine(routed, slices, 4)
    assert report.global_model == examine(global_model, slices, 4) and not report.global_model.routing
    assert json.loads(json.dumps(report.as_dict()))["after"]["entropy"] == report.after.entropy


def probabilities(network, slices, batch_size):
    runs = run_batches(network, slices, batch_size)
    return in_order((places, logits.softmax(1)) for places, _, logits in runs)


def _basic_unet() -> nn.Module:
    return BasicUNet(3, in_channels=1, out_channels=2, features=(4, 4, 4, 4, 4, 4), norm="batch")


def _segresnet() -> nn.Module:
    return SegResNet(3, init_filters=8, in_channels=1, blocks_down=(1, 1), blocks_up=(1,), norm="instance")


@pytest.mark.parametrize("make", [_basic_unet, _segresnet])
def test_adaptation_to_volumes_lowers_the_loss(make):
    torch.manual_seed(0)
    networks = [make() for _ in range(3)]
    routed = build_routed_network(networks[-1], [network.state_dict() for network in networks], dropout=0.0)
    volumes = torch.randn(4, 1, 32, 16, 16, generator=torch.Generator().manual_seed(1))
    report = adapt(routed, networks[-1], volumes, epochs=3, lr=1e-2, batch_size=4, min_foreground=0.0)
    assert report.fallback is None and report.slices == 4 and all(0 < moved < 1 for moved in report.movement.values())
    assert report.kept_epoch == 3 and report.after.entropy < report.before.entropy
    assert probabilities(routed, list(volumes), 2).shape == (4, 2, 32, 16, 16)


def test_a_layer_that_never_runs_has_no_weights_to_tell(slices):
    def with_classifier() -> nn.Module:
        network = _unet()
        network.classifier = nn.Linear(4, 2)  # of an EfficientNet that serves as an encoder
        return network

    network = with_classifier().eval()
    routed = build_routed_network(network, [with_classifier().state_dict(), network.state_dict()])
    report = adapt(routed, network, slices, epochs=1, min_foreground=0.0)
    assert report.fallback is None and list(report.movement) == list(find_routed_layers(routed))[:-1]


def test_same_seed_same_adaptation_and_the_callers_random_state_is_kept(routed, global_model, slices):
    start = {key: value.clone() for key, value in routed.state_dict().items()}
    results = []
    for seed in (1, 1, 2):
        routed.load_state_dict(start)
        state = torch.get_rng_state()
        adapt(routed, global_model, slices, epochs=1, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        results.append(probabilities(routed, slices, 16))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_global_model_is_left_untouched(routed, global_model, slices):
    before = {key: value.clone() for key, value in global_model.state_dict().items()}
    adapt(routed, global_model, slices, epochs=1)
    assert all(torch.equal(before[key], value) for key, value in global_model.state_dict().items())


def test_movement_is_the_mean_change_of_the_mean_routing(routed, global_model, slices):
    report = adapt(routed, global_model, slices, epochs=1)
    for name, moved in report.movement.items():
        change = torch.tensor(report.after.routing[name]) - torch.tensor(report.before.routing[name])
        assert moved == pytest.approx(change.abs().mean().item(), rel=1e-5)


def test_examine_equals_a_plain_computation(routed, slices):
    fix_routing(routed, torch.tensor([0.2, 0.3, 0.4]))
    view, p = examine(routed, slices, 4), probabilities(routed, slices, 4)
    assert view.entropy == pytest.approx((-(p * p.log2()).sum(1)).mean().item(), rel=1e-4)
    assert view.foreground == pytest.approx((p[:, 1] > p[:, 0]).float().mean().item(), rel=1e-5)
    assert all(weights == pytest.approx([0.2, 0.3, 0.4]) for weights in view.routing.values())


def test_few_slices_fall_back_without_learning(routed, global_model, slices):
    before = {key: value.clone() for key, value in routed.state_dict().items()}
    report = adapt(routed, global_model, slices[:3])
    assert "3 slices, expected at least 4" in report.fallback and report.epochs == 0 and report.after is None
    assert all(torch.equal(before[key], value) for key, value in routed.state_dict().items())
    assert json.loads(json.dumps(report.as_dict()))["fallback"] == report.fallback


def test_one_slice_falls_back_where_batch_norm_could_not_even_run(global_model, slices):
    """16x16 pixels after four poolings are one pixel a channel: BatchNorm has no statistics of a single slice."""
    deep = UNet(in_channels=3, out_channels=2, channels=2, num_pools=4, norm="batch")
    report = adapt(build_routed_network(deep, [deep.state_dict()]), deep, slices[:1])
    assert "1 slices" in report.fallback


class _Background(TestTimeLoss):
    """Pushes every pixel to the background, as a collapse does."""

    def __call__(self, network, images):
        loss = network(images)[:, 1].mean() - network(images)[:, 0].mean()
        return loss, {"entropy": 0.0, "consistency": 0.0, "shape": 0.0}


def test_collapse_to_the_background_falls_back(routed, global_model, slices):
    with torch.no_grad():
        global_model.decoder.output.bias.copy_(torch.tensor([0.0, 1.0]))
    report = adapt(routed, global_model, slices, epochs=6, lr=0.3, loss=_Background())
    assert report.global_model.foreground > 0.1 and report.after.foreground < 0.01 and "background" in report.fallback


class _Excursion(TestTimeLoss):
    """Two epochs of two batches as ever, then it climbs away from what they found."""

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "batches", [])

    def __call__(self, network, images):
        self.batches.append(len(images))
        loss, terms = super().__call__(network, images)
        return (loss if len(self.batches) <= 4 else 100 - loss), terms


def test_the_state_after_the_epoch_of_the_lowest_loss_counts(routed, global_model, slices):
    other = copy.deepcopy(routed)
    report = adapt(routed, global_model, slices, epochs=4, batch_size=5, loss=_Excursion())
    losses = [epoch["loss"] for epoch in report.losses]
    assert len(losses) == 4 and report.kept_epoch == 1 + losses.index(min(losses)) <= 2
    adapt(other, global_model, slices, epochs=report.kept_epoch, batch_size=5, loss=_Excursion())
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in routed.state_dict().items())
    assert report.after == examine(routed, slices, 5)


class _NotANumber(TestTimeLoss):
    def __call__(self, network, images):
        loss, terms = super().__call__(network, images)
        return loss * float("nan"), terms


def test_a_loss_that_is_not_finite_falls_back(routed, global_model, slices):
    report = adapt(routed, global_model, slices, epochs=3, loss=_NotANumber())
    assert "not finite" in report.fallback and report.epochs == 1 and report.kept_epoch == 0


def test_what_batches_give_is_put_in_order(global_model, slices):
    p = probabilities(global_model, list(slices), 4)
    torch.testing.assert_close(p, global_model(slices).softmax(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("number", "sizes"), [(9, [4, 5]), (8, [8]), (17, [5, 6, 6]), (2, [2])])
def test_no_batch_is_a_rest_of_one_slice(number, sizes):
    slices = torch.arange(number).view(-1, 1, 1, 1)
    parts = list(batches_of(slices, 8))
    assert sorted(len(part) for _, part in parts) == sizes and torch.equal(in_order(parts), slices)
    assert all(part.flatten().tolist() == list(places) for places, part in parts)
    assert all(len(set(part.flatten().diff().tolist())) <= 1 for _, part in parts), "at equal steps"


def test_no_slices_and_single_slice_batches_are_errors(routed, global_model, slices):
    with pytest.raises(InputError, match="got none"):
        adapt(routed, global_model, slices[:0])
    with pytest.raises(InputError, match="batch_size: expected at least 2"):
        adapt(routed, global_model, slices, batch_size=1)
    with pytest.raises(InputError, match="batch_size: expected at least 2"):
        list(batches_of(slices, 1))
