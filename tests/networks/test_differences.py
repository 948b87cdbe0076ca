# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Differences of weights in few bytes: how exact, how small, and what is not believed."""

from typing import Any

import pytest
import torch
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.networks.differences import NUMBERS, ErrorFeedback, add, compress, expand, subtract

REFERENCE = {"weight": torch.zeros(8, 8), "bias": torch.zeros(8), "dead": torch.zeros(3), "count": torch.tensor(3)}


def update(seed: int, size: float = 1e-3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    moved = {k: size * torch.randn(v.shape, generator=generator) for k, v in REFERENCE.items() if k != "count"}
    return {**moved, "dead": torch.zeros(3), "count": torch.tensor(4)}


@pytest.mark.parametrize("number, most", [("float32", 0.0), ("bfloat16", 2**-8), ("int8", 0.5 / 127)])
def test_differences_come_back(number: str, most: float) -> None:
    wanted = update(0)
    restored, problem = expand(compress(wanted, number), REFERENCE, number)
    assert not problem and restored.keys() == wanted.keys() and restored["count"] == 4
    for key, value in wanted.items():
        assert restored[key].dtype == REFERENCE[key].dtype
        assert (restored[key] - value).abs().max() <= most * value.abs().max() * 1.001


def test_int8_takes_a_quarter_of_the_bytes() -> None:
    packed = compress({"weight": torch.randn(64, 64)}, "int8")
    assert sum(v.numel() * v.element_size() for v in packed.values()) == 64 * 64 + 4


@pytest.mark.parametrize("number", ["bfloat16", "int8"])
def test_nothing_is_lost_over_the_rounds(number: str) -> None:
    feedback = ErrorFeedback(number)
    arrived, plainly, sent = (dict.fromkeys(("weight", "bias"), 0.0) for _ in range(3))
    for round_number in range(50):
        trained = add(REFERENCE, update(round_number) | {"bias": torch.full((8,), 2e-3)})
        trained["bias"][0] = 1.0  # the others are below half a step of int8
        for target, packed in (
            (arrived, feedback.compress(trained, REFERENCE)),
            (plainly, compress(subtract(trained, REFERENCE), number)),
        ):
            restored, _ = expand(packed, REFERENCE, number)
            for key in target:
                target[key] = target[key] + restored[key]
        for key in sent:
            sent[key] = sent[key] + trained[key]
    for key in sent:
        owed = feedback.left_over[key]
        torch.testing.assert_close(arrived[key] + owed, sent[key], rtol=0, atol=1e-5)
        error, without = ((some[key] - sent[key]).abs().max() for some in (arrived, plainly))
        assert error < without


def test_float32_updates_are_sent_as_they_are() -> None:
    feedback, trained = ErrorFeedback("float32"), update(0)
    assert feedback.compress(trained, REFERENCE) == trained and not feedback.left_over


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"weight.int8_scale": torch.tensor(float("nan"))}, "weight.int8_scale: expected finite numbers"),
        ({"weight.int8_scale": torch.tensor(3e38)}, "weight: not finite with its scale"),
        ({"weight.int8_scale": None}, "weight.int8_scale: is missing"),
        ({"weight": torch.zeros(8, 8)}, "weight: expected torch.int8 values, got torch.float32"),
        ({"weight": torch.zeros(1, dtype=torch.int8)}, "weight: expected shape (8, 8), got (1,)"),
        ({"count": torch.zeros(())}, "count: expected torch.int64 values"),
        ({"decoder": torch.zeros(1)}, "decoder: is not expected"),
    ],
)
def test_what_is_not_believed(changes: dict[str, Any], told: str) -> None:
    packed = {k: v for k, v in {**compress(update(0), "int8"), **changes}.items() if v is not None}
    restored, problem = expand(packed, REFERENCE, "int8")
    assert not restored and problem.startswith(told)


def test_another_number_is_refused() -> None:
    with pytest.raises(InputError, match=f"update_dtype: expected one of {', '.join(NUMBERS)}, got 'int4'"):
        ErrorFeedback("int4")
