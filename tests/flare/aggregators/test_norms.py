# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Sites that send nothing, little or far too much: what becomes of the honest ones beside them."""

import pytest
import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

from flare_mri.flare.aggregators import PartialAggregator

SHARED = {"weight": torch.full((100,), 1.0), "count": torch.tensor(0)}  # of norm 10


def run_round(
    aggregator: PartialAggregator, sizes: list[float], number: int = 0, shared: dict[str, torch.Tensor] = SHARED
) -> torch.Tensor:
    """Distance that a round moves the model, from updates of these norms; a negative one points the other way."""
    aggregator.begin_round(shared, number)
    for i, size in enumerate(sizes):
        params = {"weight": shared["weight"] + size / 10, "count": torch.tensor(i)}
        model = FLModel(ParamsType.FULL, params, current_round=number, meta={"client_name": f"site-{i}"})
        assert aggregator.accept_model(model)
    aggregator.compare_norms()
    return (aggregator.aggregate_model().params["weight"] - shared["weight"]) * 10


@pytest.mark.parametrize("size", [0.5, 1.0, 5.0])  # 5 to 50 % of what is shared
@pytest.mark.parametrize("silent", [[0.0, 0.0], [1e-9, 0.0], [1e-9, 1e-9]])
def test_half_that_send_nothing_get_no_honest_update_left_out(size: float, silent: list[float]) -> None:
    for sizes in ([*silent, size, size * 1.1], [silent[0], size]):
        aggregator = PartialAggregator()
        for number in range(40):
            moved = run_round(aggregator, sizes, number)
            assert not aggregator.rejected and float(moved[0]) > 0


def test_half_that_send_nothing_do_not_turn_the_check_off() -> None:
    for sizes in ([0, 0, 0.5, -49.5], [0, -49.5]):
        aggregator = PartialAggregator()
        moved = run_round(aggregator, sizes)
        assert f"site-{len(sizes) - 1}" in aggregator.clipped or f"site-{len(sizes) - 1}" in aggregator.rejected
        assert abs(float(moved[0])) <= 3 * 0.1  # three floors of 1 % of the norm 10


def test_after_honest_rounds_those_that_send_nothing_open_no_hole() -> None:
    aggregator = PartialAggregator()
    for number in range(3):
        run_round(aggregator, [1, 1.1, 0.9, 1], number)
    before = aggregator.scale.value
    assert before == pytest.approx(1.0)
    for number in range(3, 40):
        moved = run_round(aggregator, [0, 0, 1, -99], number)
        assert aggregator.scale.value == pytest.approx(max(before / 2, 0.01)), "half a round, to 0.1 % of the norm"
        before = aggregator.scale.value
        assert not {"site-0", "site-1", "site-2"} & aggregator.rejected.keys()
        assert abs(float(moved[0])) <= 3 * before


def test_honest_updates_that_shrink_are_followed_at_once_or_by_half() -> None:
    aggregator = PartialAggregator()
    for number, (size, scale) in enumerate([(2, 2), (1.5, 1.5), (0.3, 0.75), (0.3, 0.375), (0.3, 0.3), (3, 3)]):
        moved = run_round(aggregator, [size, size, size], number)
        assert aggregator.scale.value == pytest.approx(scale, rel=1e-4) and not aggregator.clipped
        assert float(moved[0]) == pytest.approx(size, rel=1e-4)


def test_one_site_at_99_medians_does_not_turn_the_model_round() -> None:
    aggregator = PartialAggregator()
    moved = run_round(aggregator, [1, 1, 1, 1, -99])
    assert aggregator.clipped == {"site-4": pytest.approx(3 / 99, rel=1e-4)} and not aggregator.rejected
    assert float(moved[0]) == pytest.approx((4 - 3) / 5, rel=1e-4)
    assert aggregator.remarks() == ["update of site-4 scaled down to 3.0% of its norm"]


def test_nothing_shared_and_nothing_moved() -> None:
    aggregator = PartialAggregator()
    aggregator.begin_round({}, 0)
    for site in "ab":
        model = FLModel(ParamsType.FULL, {}, current_round=0, meta={"client_name": site})
        assert aggregator.accept_model(model)
    aggregator.compare_norms()
    assert not aggregator.rejected and aggregator.aggregate_model().params == {}
    zeros = {"weight": torch.zeros(100), "count": torch.tensor(0)}
    assert not run_round(PartialAggregator(), [0, 0, 0], shared=zeros).any()


def test_what_is_shared_may_be_all_zero() -> None:
    """New biases are: there is no norm to take a part of, and a median of 0."""
    aggregator = PartialAggregator()
    run_round(aggregator, [0, 0, 1, 1.1], shared={"weight": torch.zeros(100), "count": torch.tensor(0)})
    assert not aggregator.rejected and not aggregator.clipped
