# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of states that came from elsewhere."""

from typing import Any

import pytest
import torch

from flare_mri.networks import build_meta_state, build_network, problem_in_state
from flare_mri.networks.state_check import norm_of, not_finite

SPEC = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4, "num_pools": 1, "norm": "batch"}}
KEY, VARIANCE = "decoder.output.bias", "encoder.blocks.0.1.running_var"
NAN, INFINITY = float("nan"), float("inf")


def test_a_networks_own_state_is_one_whether_values_are_known_or_not() -> None:
    network = build_network(SPEC, 3)
    for expected in (network.state_dict(), build_meta_state(SPEC)):
        assert problem_in_state(expected, build_network(SPEC, 4).state_dict()) == ""
    assert problem_in_state({}, {}) == ""


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (KEY, None, "is missing"),
        ("more", torch.zeros(1), "is not expected"),
        (3, torch.zeros(1), "is not expected"),
        (KEY, [0.0], "expected a tensor, got a list"),
        (KEY, torch.zeros(2), "expected shape (1,), got (2,)"),
        (KEY, torch.zeros(1).double(), "expected torch.float32 values, got torch.float64"),
        (KEY, torch.zeros(1).to_sparse(), "torch.sparse_coo"),
        (KEY, torch.zeros(1, device="meta"), "on meta"),
        (KEY, torch.tensor([NAN]), "expected finite numbers, got 1 of 1 that are not"),
        (KEY, torch.tensor([-INFINITY]), "expected finite numbers"),
        (VARIANCE, torch.tensor([1.0, -1e-9, 1.0, 1.0]), "expected variances of 0 or more"),
        ("encoder.blocks.0.1.running_mean", torch.full((4,), NAN), "expected finite numbers, got 4 of 4"),
    ],
)
def test_what_is_wrong_is_named(key: Any, value: Any, told: str) -> None:
    state: dict[Any, Any] = build_network(SPEC, 3).state_dict()
    state[key] = value
    if value is None:
        del state[key]
    problem = problem_in_state(build_meta_state(SPEC), state)
    assert problem.startswith(f"{key}: ") and told in problem


@pytest.mark.parametrize("got", [None, 3, ["w"], torch.zeros(1)])
def test_what_holds_no_tensors_by_name(got: Any) -> None:
    assert "expected tensors by name" in problem_in_state({}, got)


def test_a_number_that_is_none_is_found_in_nested_state() -> None:
    state = {"a": torch.ones(1), "b": {0: [torch.ones(2), torch.tensor([1.0, NAN])]}, "c": None, "d": 3}
    assert not_finite(state) == "b/0/1"
    assert not_finite({"a": torch.ones(1), "n": torch.tensor(3), "d": NAN}) == "", "plain values are the caller's"


def test_norm_is_that_of_one_vector_and_does_not_overflow() -> None:
    assert norm_of([torch.tensor([3.0]), torch.tensor([[4.0]]), torch.tensor(7)]) == pytest.approx(5)
    assert norm_of([]) == 0
    assert norm_of([torch.full((2,), 3e38)]) == pytest.approx(2**0.5 * 3e38, rel=1e-6)
