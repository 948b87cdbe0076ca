# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site of volumes gets a model of a three-dimensional network by either strategy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.datasets.pieces import Pieces
from flare_mri.errors import InputError
from flare_mri.networks import build_network
from flare_mri.routing.matching import MatchReport
from flare_mri.routing.outside import Outside
from flare_mri.routing.space import GLOBAL, RoutingSpace
from flare_mri.routing.statistics import with_site_statistics

NETWORK = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {
        "in_channels": 1,
        "out_channels": 2,
        "channels": 4,
        "num_pools": 2,
        "norm": "batch",
        "negative_slope": 0.0,
        "spatial_dims": 3,
    },
}


PLAN = SegmentationPlan(patch_size=(4, 8, 8))


def outside(strategy: str, plan: SegmentationPlan, epochs: int = 1) -> Outside:
    """Two volumes of 8x8x8, four patches."""
    names = ("site-1", "site-2", GLOBAL)
    space = RoutingSpace(NETWORK, {name: build_network(NETWORK, seed).state_dict() for seed, name in enumerate(names)})
    volumes = np.random.default_rng(0).standard_normal((2, 8, 1, 8, 8), np.float32)
    settings = AdaptationSettings(strategy=strategy, epochs=epochs, batch_size=4)
    return Outside(space, Pieces(list(volumes), plan), settings, torch.device("cpu"))


@pytest.mark.parametrize("strategy", ["matched", "published"])
def test_a_site_of_volumes_gets_a_model(strategy: str) -> None:
    site = outside(strategy, PLAN)
    rows = dict(site.predict_with_others())
    assert {"expert-0", "expert-1", GLOBAL, "global_site", "mean", "mean_site", "mean_matched"} <= set(rows)
    model = site.make_model()
    assert model.key == ("matched" if strategy == "matched" else "routing") and model.report.slices == 4
    for probabilities in (*rows.values(), site.pieces.probabilities(model.network, 4)):
        assert probabilities.shape == (16, 2, 8, 8)
        torch.testing.assert_close(probabilities.sum(1), torch.ones(16, 8, 8))


def test_predictions_are_averaged_with_the_weights_of_the_mix() -> None:
    site = outside("matched", PLAN)
    found = dict(site.predict_with_others())["mean_matched"]
    report = site.make_model().report
    assert isinstance(report, MatchReport)
    expected = torch.zeros_like(found)
    for name, weight in report.weights.items():
        expert = build_network(NETWORK, 0).eval()
        expert.load_state_dict(site.space.experts[name])
        expected += weight * site.pieces.probabilities(with_site_statistics(expert, site.pieces), 4)
    torch.testing.assert_close(found, expected)


def bright_volumes() -> tuple[list[np.ndarray], RoutingSpace]:
    """Three volumes, and a space of models that learned two of them."""
    volumes = [np.abs(np.random.default_rng(seed).standard_normal((8, 1, 8, 8), np.float32)) for seed in range(3)]
    experts = {}
    for seed, name in enumerate(("site-1", "site-2", GLOBAL)):
        experts[name] = with_site_statistics(build_network(NETWORK, seed), Pieces(volumes[:2], PLAN)).state_dict()
    return volumes, RoutingSpace(NETWORK, experts)


def test_volumes_of_both_contrasts_are_named() -> None:
    """Together they are as near to the models as their negatives are."""
    volumes, space = bright_volumes()
    mixed = Pieces([volumes[0], -volumes[1], volumes[2], -volumes[0]], PLAN)
    model = Outside(space, mixed, AdaptationSettings(batch_size=4), torch.device("cpu")).make_model()
    assert model.turned == (1, 3)
    told = "bright and dark are the other way round in 2 volumes{} than in the others: give them a folder of their own"
    assert told.format("") in model.notes() and told.format(" (b, d)") in model.notes(["a", "b", "c", "d"])


def test_volumes_of_inverted_contrast_are_segmented_as_their_negatives() -> None:
    volumes, space = bright_volumes()
    found = []
    for one in (volumes[1:], [-volume for volume in volumes[1:]]):
        pieces = Pieces(one, PLAN)
        model = Outside(space, pieces, AdaptationSettings(batch_size=4), torch.device("cpu")).make_model()
        found.append((pieces.probabilities(model.network, 4), any("as negatives" in note for note in model.notes())))
    assert [told for _, told in found] == [False, True]
    torch.testing.assert_close(found[1][0], found[0][0])


@pytest.mark.parametrize(("negatives", "told"), [(None, False), (0.8, True), (1.1, True), (1.4, False)])
def test_scans_of_both_contrasts_are_told_to_be_unclear(negatives: float | None, told: bool) -> None:
    model = outside("matched", PLAN).make_model()
    assert isinstance(model.report, MatchReport)
    model = replace(model, report=replace(model.report, inverted=False, negatives=negatives))
    assert any("not clear which way round" in note for note in model.notes()) == told


def test_without_an_epoch_the_routers_predict_as_they_begin() -> None:
    site = outside("published", PLAN, epochs=0)
    before = dict(site.predict_with_others())["unadapted"]
    model = site.make_model()
    assert model.key == "routing" and model.report.fallback is None
    assert model.notes() == ["no epoch of adaptation: the routers predict as they begin"]
    assert torch.equal(site.pieces.probabilities(model.network, 4), before)


def test_slices_for_a_network_of_volumes_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"expected samples with 3 spatial axes for UNet, got one of shape \(3, 8, 8\)"
    ):
        outside("matched", SegmentationPlan())
