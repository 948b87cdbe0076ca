# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Experts are weighed by how their statistics match the site's, and mixed into one network with the site's own."""

import copy
import math

import pytest
import torch
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from flare_mri.errors import InputError
from flare_mri.routing import examine
from flare_mri.routing.matching import match, mix_states, weigh
from flare_mri.routing.statistics import find_divergence, with_site_statistics


class Network(nn.Module):
    """Two layers, each with BatchNorm, and two classes."""

    def __init__(self, norm: bool = True, spatial_dims: int = 2) -> None:
        super().__init__()
        conv, batch_norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        layers = [conv(3, 4, 3, padding=1), batch_norm(4), nn.ReLU(), conv(4, 4, 1), batch_norm(4)]
        self.layers = nn.Sequential(*layers) if norm else conv(3, 4, 1)
        self.dropout, self.output = nn.Dropout(0.5), conv(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.output(self.dropout(self.layers(image)))


def site(contrast: float, count: int = 20, spatial_dims: int = 2) -> Tensor:
    """Slices or patches of a site: bright or dark, with more or less texture."""
    generator = torch.Generator().manual_seed(int(10 * contrast) + 100)
    return contrast + abs(contrast) * torch.randn(count, 3, *[8] * spatial_dims, generator=generator)


def expert(contrast: float, spatial_dims: int = 2) -> nn.Module:
    """A network that has seen a site of this contrast."""
    torch.manual_seed(3)
    return with_site_statistics(Network(spatial_dims=spatial_dims), site(contrast, spatial_dims=spatial_dims))


@pytest.mark.parametrize(("dims", "batch_size"), [(2, 16), (3, 4)])
def test_the_expert_of_a_like_site_counts_most(dims: int, batch_size: int) -> None:
    experts = {str(contrast): expert(contrast, dims).state_dict() for contrast in (-1.0, 0.5, 1.0, 3.0)}
    images = site(1.1, spatial_dims=dims)
    mixed, report = match(Network(spatial_dims=dims), experts, expert(0.2, dims), images)
    assert max(report.weights, key=lambda name: report.weights[name]) == "1.0" and report.weights["1.0"] > 0.8
    assert sum(report.weights.values()) == pytest.approx(1) and report.slices == 20
    assert report.matched == examine(mixed, images, batch_size) and not mixed.training


@pytest.mark.parametrize("dims", [2, 3])
def test_statistics_are_those_of_all_slices_of_the_site(dims: int) -> None:
    """Of the first layer exactly: batches of equal size, plain average."""
    torch.manual_seed(0)
    network, images = Network(spatial_dims=dims), site(2.0, 24, dims)
    changed = with_site_statistics(network, images, batch_size=8)
    norm = changed.layers[1]
    seen = network.layers[0](images).transpose(0, 1).flatten(1)
    torch.testing.assert_close(norm.running_mean, seen.mean(1))
    assert torch.allclose(norm.running_var, seen.var(1), rtol=0.05)
    assert norm.momentum == network.layers[1].momentum and torch.equal(network.layers[1].running_mean, torch.zeros(4))
    again = with_site_statistics(network, images, batch_size=8)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in changed.state_dict().items())


def test_the_divergence_is_that_of_gaussians() -> None:
    one, other = nn.Sequential(nn.BatchNorm2d(2, eps=0)), nn.Sequential(nn.BatchNorm2d(2, eps=0))
    one[0].running_mean, one[0].running_var = torch.tensor([1.0, 0.0]), torch.tensor([4.0, 1.0])
    other[0].running_var = torch.tensor([2.0, 1.0])
    expected = (math.log(2 / 4) + (4 + 1) / 2 - 1) / 2 / 2  # the second channel differs in nothing
    assert find_divergence(one, other) == pytest.approx(expected)
    assert find_divergence(one, copy.deepcopy(one)) == pytest.approx(0)


@pytest.mark.parametrize(("contrast", "far"), [(1.1, False), (0.7, False), (30.0, True), (-8.0, True)])
def test_a_site_unlike_all_of_the_federation_is_far_from_it(contrast: float, far: bool) -> None:
    """In units of how far the federation's sites lie from one another, whatever their scanners are."""
    experts = {str(known): expert(known).state_dict() for known in (0.5, 1.0, 1.5)}
    distance = match(Network(), experts, expert(1.0), site(contrast))[1].distance
    assert distance is not None and (distance > 3) == far


def test_a_site_of_the_other_contrast_is_taken_as_negatives() -> None:
    """The mix predicts of it what it predicts of the negatives, and the experts' weights and distance are those."""
    experts = {str(known): expert(known).state_dict() for known in (1.0, 3.0)}
    images = site(1.1)
    straight, as_it_came = match(Network(), experts, expert(1.0), images)
    turned, report = match(Network(), experts, expert(1.0), -images)
    assert report.inverted and not as_it_came.inverted
    torch.testing.assert_close(turned(-images), straight(images))
    assert turned.state_dict().keys() == straight.state_dict().keys()
    assert report.weights == pytest.approx(as_it_came.weights) and report.distance == pytest.approx(as_it_came.distance)
    assert report.matched.entropy == pytest.approx(as_it_came.matched.entropy)
    assert report.negatives < 0.5 and as_it_came.negatives > 2
    assert report.global_model.entropy == pytest.approx(as_it_came.global_model.entropy)


def test_the_one_expert_of_the_other_contrast_does_not_decide() -> None:
    """Though the negatives are nearest to it: they are its own images."""
    experts = {str(known): expert(known).state_dict() for known in (1.0, 1.5, 3.0)}
    torch.manual_seed(3)
    experts["turned"] = with_site_statistics(Network(), -site(1.2)).state_dict()
    report = match(Network(), experts, expert(1.0), site(1.2))[1]
    assert not report.inverted and report.negatives is not None and report.negatives > 1


def test_no_distance_without_two_hospitals_that_differ() -> None:
    one = expert(1.0).state_dict()
    for experts in ({"one": one}, {"one": one, "two": one}):
        assert match(Network(), experts, expert(1.0), site(1.1))[1].distance is None


def test_weights_fall_with_the_divergence() -> None:
    assert weigh({"a": 0.1, "b": 0.2}) == {"a": pytest.approx(8 / 9), "b": pytest.approx(1 / 9)}
    assert weigh({"a": 0.0, "b": 0.1})["a"] == pytest.approx(1)


def test_states_are_averaged_and_counts_are_kept() -> None:
    states = {
        "a": {"w": torch.tensor([1.0, 3.0]), "n": torch.tensor(5)},
        "b": {"w": torch.zeros(2), "n": torch.tensor(7)},
    }
    mixed = mix_states(states, {"a": 0.25, "b": 0.75})
    assert mixed["w"].tolist() == [0.25, 0.75] and mixed["w"].dtype == torch.float32 and mixed["n"] == 5


def test_without_batch_norm_all_count_alike() -> None:
    experts = {name: Network(norm=False).state_dict() for name in ("a", "b")}
    mixed, report = match(Network(norm=False), experts, Network(norm=False), site(1.0))
    assert report.divergence == {} and report.weights == {"a": 0.5, "b": 0.5}
    expected = (experts["a"]["output.weight"] + experts["b"]["output.weight"]) / 2
    torch.testing.assert_close(mixed.state_dict()["output.weight"], expected)


def test_few_slices_and_a_mix_that_marks_nothing_fall_back() -> None:
    experts, images = {"a": expert(1.0).state_dict()}, site(1.0)
    assert "expected at least 4: too few" in str(match(Network(), experts, expert(1.0), images[:3])[1].fallback)
    volumes = site(1.0, 3, spatial_dims=3)
    few = match(Network(spatial_dims=3), {"a": expert(1.0, 3).state_dict()}, expert(1.0, 3), volumes)[1]
    assert "3 patches, expected at least 4" in str(few.fallback)
    empty = copy.deepcopy(experts)
    empty["a"]["output.bias"] = torch.tensor([1e3, -1e3])
    assert "the mix marks every pixel as background" in str(match(Network(), empty, expert(1.0), images)[1].fallback)


def test_what_does_not_fit_is_one_line() -> None:
    with pytest.raises(InputError, match="expected personal models in the routing space, got none"):
        match(Network(), {}, Network(), site(1.0))
    with pytest.raises(InputError, match="expected slices or patches, got none"):
        match(Network(), {"a": Network().state_dict()}, Network(), site(1.0)[:0])
    with pytest.raises(InputError, match="routing space, a: "):
        match(Network(), {"a": Network(norm=False).state_dict()}, Network(), site(1.0))
