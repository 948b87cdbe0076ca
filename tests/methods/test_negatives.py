# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The encoders that go to other sites: without names, and believed by nobody."""

from typing import Any

import pytest
import torch
from torch import Tensor

from flare_mri.methods.negatives import MAX_NEGATIVES, decode_negatives, encode_negatives, negative_differences
from flare_mri.networks.differences import NUMBERS

SHARED = {
    "conv.weight": torch.zeros(4, 1, 3, 3),
    "conv.bias": torch.zeros(4),
    "norm.scale": torch.tensor(1.0),
    "norm.count": torch.tensor(3),
}


def part(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.randn(v.shape, generator=generator) for k, v in SHARED.items() if v.is_floating_point()}


def test_negatives_travel_without_names_in_an_order_that_tells_none() -> None:
    sites = {f"site-{i}": part(i) for i in range(6)}
    swapped = dict(zip(sites, reversed(sites.values()), strict=True))
    one, other = (encode_negatives(negative_differences(updates, SHARED, "float32")) for updates in (sites, swapped))
    assert isinstance(one, list) and all(negative.keys() == part(0).keys() for negative in one)
    for mine, theirs in zip(one, other, strict=True):  # who sent what changes nothing
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    order = [next(s for s, p in sites.items() if torch.equal(p["conv.bias"], n["conv.bias"])) for n in one]
    assert order != sorted(order)
    later = {site: {k: v + 1 for k, v in values.items()} for site, values in sites.items()}
    again = encode_negatives(negative_differences(later, SHARED, "float32"))
    assert order != [next(s for s, p in later.items() if torch.equal(p["conv.bias"], n["conv.bias"])) for n in again]


@pytest.mark.parametrize("number", NUMBERS)
def test_negatives_come_back(number: str) -> None:
    updates = {"a": {**part(1), "norm.count": torch.tensor(4)}}
    good, problems = decode_negatives(encode_negatives(negative_differences(updates, SHARED, number)), SHARED, number)
    assert not problems and len(good) == 1
    for key, value in part(1).items():
        torch.testing.assert_close(good[0][key], value, rtol=0, atol=1e-6 if number == "float32" else 0.02)


def test_so_many_negatives_travel_and_other_ones_each_round() -> None:
    chosen = []
    for moved in (0.0, 1.0, 2.0):
        updates = {f"site-{i}": {k: v + moved for k, v in part(i).items()} for i in range(6)}
        sent = encode_negatives(negative_differences(updates, SHARED, "float32"), most=2)
        held = negative_differences(updates, SHARED, "float32", most=2)
        assert len(held) == 2 and all(
            torch.equal(one[key], other[key])
            for one, other in zip(sent, encode_negatives(held, most=2), strict=True)
            for key in one
        )
        assert len(sent) == 2
        chosen.append({s for s, p in updates.items() for n in sent if torch.equal(p["conv.bias"], n["conv.bias"])})
    assert len(set(map(frozenset, chosen))) > 1


BAD_NEGATIVES = {
    "broadcast": ({"conv.bias": torch.zeros(1)}, "conv.bias: expected shape (4,), got (1,)"),
    "nan": (
        {"conv.bias": torch.full((4,), float("nan"))},
        "conv.bias: expected finite numbers, got 4 of 4",
    ),
    "infinite": (
        {"conv.bias": torch.full((4,), float("inf"))},
        "conv.bias: expected finite numbers, got 4 of 4",
    ),
    "missing": ({"conv.bias": None}, "conv.bias: is missing, expected shape (4,)"),
    "unknown": ({"decoder.weight": torch.zeros(1)}, "decoder.weight: is not expected"),
    "integer buffer": ({"norm.count": torch.tensor(1)}, "norm.count: is not expected"),
    "dtype": (
        {"conv.bias": torch.zeros(4, dtype=torch.complex64)},
        "torch.float32 values, got torch.complex64",
    ),
    "sparse": ({"conv.bias": torch.zeros(4).to_sparse()}, "got torch.float32, torch.sparse_coo"),
    "no tensor": ({"conv.bias": [0.0] * 4}, "conv.bias: expected a tensor, got a list"),
}


@pytest.mark.parametrize("changes, told", BAD_NEGATIVES.values(), ids=BAD_NEGATIVES)
def test_a_bad_negative_is_left_out_and_named_by_its_place(changes: dict[str, Any], told: str) -> None:
    bad = {k: v for k, v in {**part(2), **changes}.items() if v is not None}
    good, problems = decode_negatives([part(1), bad, part(3)], SHARED, "float32")
    assert len(good) == 2 and len(problems) == 1 and problems[0].startswith("negative 1: ") and told in problems[0]


def test_negatives_that_are_no_list_or_too_many() -> None:
    assert decode_negatives({"site-1": part(1)}, SHARED, "float32") == ([], ["negatives: a dict, expected a list"])
    assert decode_negatives(["site-1"], SHARED, "float32") == ([], ["negative 0: expected tensors by name, got a str"])
    good, problems = decode_negatives([part(1)] * (MAX_NEGATIVES + 5), SHARED, "float32")
    assert len(good) == MAX_NEGATIVES and problems == [
        "negatives: 1029, expected at most 1024; the others are left out"
    ]


def test_a_sum_beyond_every_number_is_left_out() -> None:
    most = torch.finfo(torch.float32).max
    shared = {"conv.bias": torch.full((4,), most)}
    good, problems = decode_negatives([{"conv.bias": torch.full((4,), most)}], shared, "float32")
    assert not good and problems == ["negative 0: conv.bias: the sum with the global one is not finite"]
