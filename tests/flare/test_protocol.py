# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What may cross the wire, and what is done with that which may not."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flare_mri.flare.protocol import (
    MAX_METRICS,
    MAX_NEGATIVES,
    RECONSTRUCTION_METRICS,
    SEGMENTATION_METRICS,
    decode_negatives,
    encode_negatives,
    negative_differences,
    problem_in_metrics,
)
from flare_mri.metrics.reconstruction import VolumeMetrics
from flare_mri.metrics.segmentation import SegmentationMetrics

SHARED = {
    "conv.weight": torch.zeros(4, 1, 3, 3),
    "conv.bias": torch.zeros(4),
    "norm.scale": torch.tensor(1.0),
    "norm.count": torch.tensor(3),
}


def part(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.randn(v.shape, generator=generator) for k, v in SHARED.items() if v.is_floating_point()}


def test_the_metrics_that_exist_are_listed() -> None:
    image = np.random.default_rng(0).random((16, 16))
    reconstruction = VolumeMetrics()
    reconstruction.add("volume", image, image)
    assert reconstruction.aggregate().keys() <= set(RECONSTRUCTION_METRICS)
    segmentation = SegmentationMetrics()
    segmentation.add("volume", 0, np.eye(8, dtype=np.uint8), np.eye(8, dtype=np.uint8))
    assert segmentation.aggregate().keys() == set(SEGMENTATION_METRICS)
    for metric in RECONSTRUCTION_METRICS + SEGMENTATION_METRICS:
        for name in ("validation", "personal/test", "zero_filled/test", "expert-12/test", "routing/test"):
            assert not problem_in_metrics({f"{name}/{metric}": 0.5}), metric


@pytest.mark.parametrize(
    "metrics, told",
    [
        ({"test/invented": 1.0}, "metric 'test/invented' is not listed"),
        ({"global/test/psnr2": 1.0}, "is not listed"),
        ({f"routing/weight/l{i}/0": 0.5 for i in range(MAX_METRICS + 1)}, "4097 metrics, expected at most 4096"),
        ({"train/loss": 10**400}, "metric 'train/loss' is an integer beyond every number of ours"),
        ({"train/loss": 10**5000}, "metric 'train/loss' is an integer beyond every number of ours"),
        ({"slices/train": 1e9}, "metric 'slices/train' is 1000000000.0, expected a whole number of at most 10000000"),
        ({"wire/sent": 1.7e308}, "metric 'wire/sent' is 1.7e+308, expected at most 1e+12"),
        ({"slices/test": 12.5}, "metric 'slices/test' is 12.5, expected a whole number"),
        ({"slices/test": -1}, "metric 'slices/test' is -1, expected a whole number"),
        ({"refused/optimizer": 3.0}, "metric 'refused/optimizer' is 3.0, expected 1"),
        ({"refused/patient": 1.0}, "is not listed"),
        ([("train/loss", 1.0)], "metrics are a list"),
    ],
    ids=range(12),
)
def test_metrics_that_may_not_cross(metrics: Any, told: str) -> None:
    assert told in problem_in_metrics(metrics)


def test_what_a_policy_refuses_may_cross() -> None:
    parts = ("method", "shared_layers", "network", "optimizer")
    assert not problem_in_metrics({f"refused/{name}": 1.0 for name in parts})


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_negatives_come_back(dtype: str) -> None:
    updates = {"a": {**part(1), "norm.count": torch.tensor(4)}}
    good, problems = decode_negatives(encode_negatives(negative_differences(updates, SHARED, dtype)), SHARED)
    assert not problems and len(good) == 1
    for key, value in part(1).items():
        torch.testing.assert_close(good[0][key], value, rtol=0.01 if dtype == "bfloat16" else 0, atol=1e-2)


BAD_NEGATIVES = {
    "broadcast": ({"conv.bias": torch.zeros(1)}, "conv.bias: shape (1,), expected (4,)"),
    "nan": ({"conv.bias": torch.full((4,), float("nan"))}, "conv.bias: values that are not finite"),
    "infinite": ({"conv.bias": torch.full((4,), float("inf"))}, "conv.bias: values that are not finite"),
    "missing": ({"conv.bias": None}, "conv.bias: missing, expected a tensor"),
    "unknown": ({"decoder.weight": torch.zeros(1)}, "decoder.weight: not part of what is shared"),
    "integer buffer": ({"norm.count": torch.tensor(1)}, "norm.count: not part of what is shared"),
    "dtype": ({"conv.bias": torch.zeros(4, dtype=torch.complex64)}, "conv.bias: torch.complex64"),
    "sparse": ({"conv.bias": torch.zeros(4).to_sparse()}, "torch.sparse_coo, expected float32 or bfloat16, dense"),
    "no tensor": ({"conv.bias": [0.0] * 4}, "conv.bias: a list, expected a tensor"),
}


@pytest.mark.parametrize("changes, told", BAD_NEGATIVES.values(), ids=BAD_NEGATIVES)
def test_a_bad_negative_is_left_out_and_named_by_its_place(changes: dict[str, Any], told: str) -> None:
    bad = {k: v for k, v in {**part(2), **changes}.items() if v is not None}
    good, problems = decode_negatives([part(1), bad, part(3)], SHARED)
    assert len(good) == 2 and len(problems) == 1 and problems[0].startswith("negative 1: ") and told in problems[0]


def test_negatives_that_are_no_list_or_too_many() -> None:
    assert decode_negatives({"site-1": part(1)}, SHARED) == ([], ["negatives: a dict, expected a list"])
    assert decode_negatives(["site-1"], SHARED) == ([], ["negative 0: a str, expected tensors by name"])
    good, problems = decode_negatives([part(1)] * (MAX_NEGATIVES + 5), SHARED)
    assert len(good) == MAX_NEGATIVES and problems == [
        "negatives: 1029, expected at most 1024; the others are left out"
    ]
