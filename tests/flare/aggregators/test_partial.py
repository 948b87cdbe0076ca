# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
from itertools import permutations

import numpy as np
import pytest
import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

from flare_mri.errors import InputError
from flare_mri.flare.aggregators import PartialAggregator

REFERENCE = {"encoder.weight": torch.zeros(2, 3), "encoder.count": torch.tensor(0)}


def update(site: str, seed: int, round_number: int = 2, slices: float = 1.0, **changes: object) -> FLModel:
    generator = torch.Generator().manual_seed(seed)
    params = {"encoder.weight": torch.randn(2, 3, generator=generator), "encoder.count": torch.tensor(seed)}
    params.update(changes)  # type: ignore[arg-type]
    return FLModel(
        params_type=ParamsType.FULL,
        params={k: v for k, v in params.items() if v is not None},
        metrics={"slices/train": slices},
        current_round=round_number,
        meta={"client_name": site},
    )


def aggregate(updates: list[FLModel], weighting: str = "equal") -> dict[str, torch.Tensor]:
    aggregator = PartialAggregator(weighting)
    aggregator.begin_round(REFERENCE, 2)
    assert all(aggregator.accept_model(u) for u in updates)
    return aggregator.aggregate_model().params


@pytest.mark.parametrize("weighting, weights", [("equal", [1, 1, 1]), ("slices", [10, 20, 70])])
def test_is_the_weighted_mean(weighting: str, weights: list[int]) -> None:
    updates = [update(f"site-{i}", seed=i, slices=[10, 20, 70][i]) for i in range(3)]
    expected = np.average([u.params["encoder.weight"].numpy() for u in updates], axis=0, weights=weights)
    result = aggregate(updates, weighting)
    np.testing.assert_allclose(result["encoder.weight"].numpy(), expected, rtol=1e-6)
    assert result["encoder.weight"].dtype == torch.float32
    assert result["encoder.count"] == 2


def test_a_negative_variance_is_left_out() -> None:
    """No site could load the mean of it, and the run would be over."""
    reference = {"norm.running_var": torch.ones(2)}
    aggregator = PartialAggregator()
    aggregator.begin_round(reference, 0)
    bad = FLModel(params_type=ParamsType.FULL, params={"norm.running_var": torch.tensor([1.0, -0.1])}, current_round=0)
    bad.meta["client_name"] = "a"
    assert not aggregator.accept_model(bad) and "variances of 0 or more, got negative ones" in aggregator.rejected["a"]


def test_order_of_arrival_changes_no_bit() -> None:
    updates = [update(f"site-{i}", seed=i) for i in range(4)]
    results = [aggregate(list(order))["encoder.weight"] for order in permutations(updates)]
    assert all(torch.equal(results[0], other) for other in results)


def test_one_site_is_that_site() -> None:
    only = update("site-1", seed=5)
    assert torch.equal(aggregate([only])["encoder.weight"], only.params["encoder.weight"])


BAD = {
    "nan": (
        {"encoder.weight": torch.full((2, 3), float("nan"))},
        "encoder.weight: expected finite numbers, got 6 of 6 that",
    ),
    "infinite": ({"encoder.weight": torch.full((2, 3), float("inf"))}, "not finite"),
    "shape": ({"encoder.weight": torch.zeros(1, 3)}, "encoder.weight: expected shape (2, 3), got (1, 3)"),
    "missing": ({"encoder.weight": None}, "encoder.weight: is missing, expected shape (2, 3)"),
    "private": ({"decoder.weight": torch.zeros(1)}, "decoder.weight: is not expected"),
    "dtype": (
        {"encoder.weight": torch.zeros(2, 3, dtype=torch.float64)},
        "expected torch.float32 values, got torch.float64",
    ),
    "no tensor": ({"encoder.weight": [0.0]}, "expected a tensor, got a list"),
}


@pytest.mark.parametrize("changes, reason", BAD.values(), ids=BAD)
def test_bad_update_is_left_out_and_named(changes: dict, reason: str) -> None:
    good = update("site-1", seed=1)
    for order in (["site-1", "site-2"], ["site-2", "site-1"]):
        aggregator = PartialAggregator()
        aggregator.begin_round(REFERENCE, 2)
        for site in order:
            aggregator.accept_model(good if site == "site-1" else update(site, 2, **changes))
        assert reason in aggregator.rejected["site-2"]
        assert torch.equal(aggregator.aggregate_model().params["encoder.weight"], good.params["encoder.weight"])


@pytest.mark.parametrize("slices", [0, -1, float("nan"), float("inf"), "12", None, 12.5, 1e9, 1.7e308])
def test_a_weight_that_is_no_number_of_slices(slices: object) -> None:
    aggregator = PartialAggregator("slices")
    aggregator.begin_round(REFERENCE, 2)
    assert not aggregator.accept_model(update("site-1", 1, slices=slices))  # type: ignore[arg-type]
    assert "expected the number of training slices" in aggregator.rejected["site-1"]


@pytest.mark.parametrize(
    "claims, max_weight, counted",
    [
        ([10, 12, 10**7], 10, [10, 12, 120]),
        ([10, 12, 10**7], 0, [10, 12, 10**7]),
        ([10, 1000], 10, [10, 100]),
        ([1, 1, 900, 1000], 10, [1, 1, 10, 10]),
        ([10, 20, 70], 10, [10, 20, 70]),
    ],
)
def test_no_claim_of_slices_takes_the_average_for_itself(
    claims: list[int], max_weight: float, counted: list[int]
) -> None:
    aggregator = PartialAggregator("slices", max_weight=max_weight)
    aggregator.begin_round(REFERENCE, 2)
    updates = [update(f"site-{i}", seed=i, slices=claim) for i, claim in enumerate(claims)]
    assert all(aggregator.accept_model(u) for u in updates)
    result = aggregator.aggregate_model().params["encoder.weight"].numpy()
    expected = np.average([u.params["encoder.weight"].numpy() for u in updates], axis=0, weights=counted)
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    capped = {f"site-{i}": (a, b) for i, (a, b) in enumerate(zip(claims, counted, strict=True)) if a != b}
    assert aggregator.capped == capped and len(aggregator.remarks()) == len(capped)


def test_a_capped_claim_is_told() -> None:
    aggregator = PartialAggregator("slices")
    aggregator.begin_round(REFERENCE, 2)
    for site, claim in (("a", 10), ("b", 10), ("c", 5000)):
        aggregator.accept_model(update(site, 1, slices=claim))
    aggregator.aggregate_model()
    assert aggregator.remarks() == ["5000 slices of c count as 100, 10 times the round's median"]


def test_keys_that_are_no_names() -> None:
    aggregator = PartialAggregator()
    aggregator.begin_round(REFERENCE, 2)
    bad = update("site-1", 1)
    bad.params[7] = torch.zeros(1)
    assert not aggregator.accept_model(bad) and "7: is not expected" in aggregator.rejected["site-1"]


def test_stale_round_second_answer_and_empty_round() -> None:
    aggregator = PartialAggregator()
    aggregator.begin_round(REFERENCE, 2)
    assert not aggregator.accept_model(update("site-1", 1, round_number=1))
    assert "round 1, expected round 2" in aggregator.rejected["site-1"]
    with pytest.raises(InputError, match="round 2: no site sent a usable update"):
        aggregator.aggregate_model()
    assert aggregator.accept_model(update("site-2", 1))
    assert not aggregator.accept_model(update("site-2", 1))
    aggregator.begin_round(REFERENCE, 3)
    assert not aggregator.accepted and not aggregator.rejected


def sized(site: str, size: float) -> FLModel:
    return update(site, seed=1, **{"encoder.weight": torch.full((2, 3), float(size))})


def gathered(sizes: list[float], **options: float) -> PartialAggregator:
    aggregator = PartialAggregator(**options)  # type: ignore[arg-type]
    aggregator.begin_round(REFERENCE, 2)
    for i, size in enumerate(sizes):
        assert aggregator.accept_model(sized(f"site-{i}", size))
    aggregator.compare_norms()
    return aggregator


@pytest.mark.parametrize("sizes, left", [([1, 1.2, 1000], [2]), ([1, 1000], [1]), ([1000, 1, 2, 3000], [0, 3])])
def test_an_update_a_thousand_times_too_large_is_left_out(sizes: list[float], left: list[int]) -> None:
    aggregator = gathered(sizes)
    assert sorted(aggregator.rejected) == [f"site-{i}" for i in left]
    problem = aggregator.rejected[f"site-{left[0]}"]
    assert "expected at most 100 times the round's median" in problem and "largest in encoder.weight" in problem
    assert float(aggregator.aggregate_model().params["encoder.weight"].max()) < 10


def test_the_size_of_an_update_is_that_of_its_change() -> None:
    """Large weights are no large update."""
    aggregator = PartialAggregator()
    aggregator.begin_round({**REFERENCE, "encoder.weight": torch.full((2, 3), 1000.0)}, 2)
    for site, size in (("a", 1001.0), ("b", 999.0), ("c", 1002.0)):
        aggregator.accept_model(sized(site, size))
    aggregator.compare_norms()
    assert not aggregator.rejected


def test_three_medians_unless_asked_for_otherwise() -> None:
    assert gathered([1, 1, 50]).aggregate_model().params["encoder.weight"][0, 0] == pytest.approx(5 / 3)
    plain = gathered([1, 1, 50], clip_norm=0)
    assert plain.aggregate_model().params["encoder.weight"][0, 0] == pytest.approx(52 / 3)


def test_norm_clipping_against_the_median() -> None:
    aggregator = gathered([1, -1, 50], clip_norm=2)
    assert aggregator.clipped == {"site-2": pytest.approx(2 / 50)} and not aggregator.rejected
    expected = np.mean([1, -1, 2])  # 50 scaled to twice the median norm
    np.testing.assert_allclose(aggregator.aggregate_model().params["encoder.weight"].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("option", ["max_norm", "clip_norm", "max_weight"])
@pytest.mark.parametrize("value", [-1, 0.5, float("nan"), float("inf")])
def test_norm_options_out_of_range(option: str, value: float) -> None:
    with pytest.raises(InputError, match=option):
        PartialAggregator(**{option: value})
