# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Further tensors of a method are checked like weights, and their sizes apart from those of the weights."""

import pytest
import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

from flare_mri.flare.aggregators import PartialAggregator

REFERENCE = {"w": torch.ones(4)}
EXTRA = {"control_variate.w": torch.full((4,), 7.0)}


def gathered(controls: list[object], clip_norm: float = 3.0) -> PartialAggregator:
    aggregator = PartialAggregator(clip_norm=clip_norm)
    aggregator.begin_round(REFERENCE, 0, EXTRA)
    for number, value in enumerate(controls):
        params = {"w": torch.full((4,), 1.1 + 0.01 * number), "control_variate.w": value}
        params = {key: tensor for key, tensor in params.items() if tensor is not None}
        meta = {"client_name": f"site-{number}"}
        aggregator.accept_model(FLModel(params_type=ParamsType.FULL, params=params, current_round=0, meta=meta))
    aggregator.compare_norms()
    return aggregator


def test_are_averaged_as_differences() -> None:
    mean = gathered([torch.full((4,), value) for value in (50.0, 60.0, 100.0)]).aggregate_model().params
    torch.testing.assert_close(mean["control_variate.w"], torch.full((4,), 70.0))
    torch.testing.assert_close(mean["w"], torch.full((4,), 1.11))


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (None, "control_variate.w: is missing"),
        (torch.zeros(3), "control_variate.w: expected shape (4,), got (3,)"),
        (torch.zeros(4).double(), "control_variate.w: expected torch.float32"),
        (torch.full((4,), float("nan")), "control_variate.w: expected finite numbers"),
        (torch.full((4,), 1e6), "expected at most 100 times the round's median"),
    ],
)
def test_a_bad_one_leaves_the_whole_update_out(bad: object, told: str) -> None:
    aggregator = gathered([torch.ones(4), bad, torch.ones(4)])
    assert told in aggregator.rejected["site-1"] and sorted(aggregator.accepted) == ["site-0", "site-2"]
    assert torch.equal(aggregator.aggregate_model().params["control_variate.w"], torch.ones(4))


def test_a_large_one_is_scaled_down_and_the_weights_stay() -> None:
    aggregator = gathered([torch.ones(4), torch.ones(4), torch.full((4,), 30.0)])
    assert aggregator.clipped == {"site-2, further tensors,": pytest.approx(0.1)}
    mean = aggregator.aggregate_model().params
    torch.testing.assert_close(mean["control_variate.w"], torch.full((4,), 5 / 3))
    torch.testing.assert_close(mean["w"], torch.full((4,), 1.11))


def test_large_ones_of_all_hide_no_large_weights() -> None:
    """Control variates are gradients, a thousand times larger than a round's change of weights."""
    aggregator = PartialAggregator()
    aggregator.begin_round(REFERENCE, 0, EXTRA)
    for site, size in (("a", 0.1), ("b", 0.1), ("c", 50.0)):
        params = {"w": 1 + torch.full((4,), size), "control_variate.w": torch.full((4,), 1e4)}
        meta = {"client_name": site}
        aggregator.accept_model(FLModel(params_type=ParamsType.FULL, params=params, current_round=0, meta=meta))
    aggregator.compare_norms()
    assert sorted(aggregator.rejected) == ["c"]
