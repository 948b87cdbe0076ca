# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Differences of weights in few bytes, as they cross the wire."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.networks.state_check import not_finite, problem_in_state

NUMBERS: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
"""Types of number that differences may travel in: 4, 2 and 1 byte each."""

_SCALE = ".int8_scale"
_MOST = 127
State = dict[str, Tensor]


def compress(differences: Mapping[str, Tensor], number: str) -> State:
    """Floating-point differences as they travel; all other tensors as they are.

    Args:
        differences: tensors by name.
        number: one of :data:`NUMBERS`. ``int8`` is linear and symmetric with a scale for each tensor, its largest
            magnitude over 127, under the tensor's name and ``.int8_scale``: an error of at most half a scale.
    """
    if number != "int8":
        return {k: v.to(NUMBERS[number]) if v.is_floating_point() else v for k, v in differences.items()}
    packed: State = {}
    for key, value in differences.items():
        packed[key] = value
        if value.is_floating_point():
            scale = value.abs().max().float() / _MOST if value.numel() else torch.zeros(())
            step = torch.where(scale > 0, scale, 1.0)
            packed[key] = (value / step).round().clamp(-_MOST, _MOST).to(torch.int8)
            packed[key + _SCALE] = scale
    return packed


def expand(packed: Any, reference: Mapping[str, Tensor], number: str) -> tuple[State, str]:
    """Back to differences, of something that anyone may have sent.

    Args:
        packed: as :func:`compress` gives it.
        reference: what the differences are from; names, shapes and types that are expected.
        number: in which they are to be.

    Returns:
        The differences in the reference's types and an empty string; or nothing, and the first reason why `packed` is
        no such thing.
    """
    floats = [key for key, value in reference.items() if value.is_floating_point()]
    expected = {k: torch.empty(v.shape, dtype=_sent_as(v, number), device="meta") for k, v in reference.items()}
    if number == "int8":
        expected |= {key + _SCALE: torch.empty((), device="meta") for key in floats}
    if problem := problem_in_state(expected, packed):
        return {}, problem
    restored = {k: packed[k].to(v.dtype) for k, v in reference.items()}
    if number == "int8":
        restored |= {key: restored[key] * packed[key + _SCALE].to(restored[key].dtype) for key in floats}
    bad = not_finite(restored)
    return ({}, f"{bad}: not finite with its scale") if bad else (restored, "")


def add(reference: Mapping[str, Tensor], differences: Mapping[str, Tensor]) -> State:
    """The weights: reference and difference for floating-point tensors, the others as they came."""
    return {k: reference[k] + d if d.is_floating_point() else d for k, d in differences.items()}


def subtract(weights: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> State:
    """The differences of floating-point tensors from a reference; the others as they are."""
    return {k: v - reference[k] if v.is_floating_point() else v for k, v in weights.items()}


def _sent_as(value: Tensor, number: str) -> torch.dtype:
    return NUMBERS[number] if value.is_floating_point() else value.dtype


class ErrorFeedback:
    """Compresses a site's updates; what rounding takes away in one round is added to the next one's.

    So nothing is lost over the rounds (Seide et al., Interspeech 2014; Karimireddy et al., ICML 2019, 1901.09847).

    Args:
        number: one of :data:`NUMBERS`.

    Raises:
        InputError: another number.
    """

    def __init__(self, number: str):
        if number not in NUMBERS:
            raise InputError(f"update_dtype: expected one of {', '.join(NUMBERS)}, got {number!r:.40}; correct the job")
        self.number = number
        self.left_over: State = {}
        """Differences that are still owed to the server; private state of the site."""

    def compress(self, update: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> State:
        """An update as it travels: as it is in float32, else as differences from what the server sent.

        Args:
            update: weights after a round.
            reference: those before it, of the same names.
        """
        if self.number == "float32":
            return dict(update)
        wanted = {
            key: value + self.left_over[key] if key in self.left_over else value
            for key, value in subtract(update, reference).items()
        }
        packed = compress(wanted, self.number)
        restored, _ = expand(packed, reference, self.number)
        self.left_over = {k: v - restored[k] for k, v in wanted.items() if v.is_floating_point()}
        return packed
