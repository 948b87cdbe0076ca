# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Robust averages against NumPy, and against sites that lie."""

import numpy as np
import pytest
import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from scipy.stats import trim_mean

from flare_mri.config.server import AggregationSettings
from flare_mri.errors import InputError
from flare_mri.flare.aggregators import PartialAggregator
from flare_mri.flare.aggregators.robust import choose_by_krum, median, squared_distances, trimmed_mean
from flare_mri.flare.recipes import FedMRIRecipe

REFERENCE = {"encoder.weight": torch.zeros(40, 3), "encoder.count": torch.tensor(0)}


def aggregate(average: str, weights: list[torch.Tensor], **options: float) -> tuple[torch.Tensor, PartialAggregator]:
    aggregator = PartialAggregator(average=average, **options)  # type: ignore[arg-type]
    aggregator.begin_round(REFERENCE, 0)
    for number, weight in enumerate(weights):
        params = {"encoder.weight": weight, "encoder.count": torch.tensor(number)}
        model = FLModel(
            params_type=ParamsType.FULL, params=params, current_round=0, meta={"client_name": f"site-{number}"}
        )
        assert aggregator.accept_model(model)
    aggregator.compare_norms()
    result = aggregator.aggregate_model().params
    assert result["encoder.count"] == max(
        number for number in range(len(weights)) if f"site-{number}" not in aggregator.passed_over
    )
    return result["encoder.weight"], aggregator


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_against_numpy(count: int) -> None:
    values = [torch.randn(7, 2, generator=torch.Generator().manual_seed(n)) for n in range(count)]
    stacked = np.stack(values)
    np.testing.assert_allclose(median(values), np.median(stacked, axis=0), rtol=1e-6)
    np.testing.assert_allclose(trimmed_mean(values, 1), trim_mean(stacked, 1 / count + 1e-9, axis=0), rtol=1e-5)
    assert median(values).dtype == torch.float32


def test_krum_takes_those_with_the_nearest_neighbours() -> None:
    points = [[torch.tensor([float(x)])] for x in (0, 1, 2, 50, 3)]
    assert choose_by_krum(squared_distances(zip(*points, strict=True), 5), 1) == [0, 1, 2, 4]


HONEST = [torch.ones(40, 3) + 0.1 * torch.randn(40, 3, generator=torch.Generator().manual_seed(n)) for n in range(4)]
LIES = {
    "noise": 2 * torch.randn(40, 3, generator=torch.Generator().manual_seed(9)),
    "sign flipped": -HONEST[0],
    "scaled within the bound": 3 * HONEST[0],
    "nothing": torch.zeros(40, 3),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("average", ["median", "trimmed_mean", "krum"])
def test_one_of_five_that_lies_moves_them_less_than_the_mean(average: str, lie: str) -> None:
    truth = torch.stack(HONEST).mean(0)
    found, aggregator = aggregate(average, [*HONEST, LIES[lie]])
    plain, _ = aggregate("mean", [*HONEST, LIES[lie]])
    assert (found - truth).norm() < 0.5 * (plain - truth).norm()
    assert aggregator.passed_over == (["site-4"] if average == "krum" else [])
    assert any("site-4" in line and "krum" in line for line in aggregator.remarks()) == (average == "krum")


def test_what_cannot_be_is_said_before_a_round() -> None:
    with pytest.raises(InputError, match="weighting: expected equal with average median, got slices"):
        AggregationSettings.read({"average": "median", "weighting": "slices"}, "job")
    with pytest.raises(InputError, match="krum against 1 dishonest sites: expected updates of at least 5 sites, got 4"):
        FedMRIRecipe(min_clients=4, average="krum", include_code=False)
    with pytest.raises(InputError, match="trimmed_mean against 2 dishonest sites: expected updates of at least 5"):
        aggregate("trimmed_mean", HONEST, dishonest=2)
