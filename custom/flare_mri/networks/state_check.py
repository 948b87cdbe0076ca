# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of network states that came from elsewhere: the one place where it is decided whether they fit."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from flare_mri.errors import InputError

_LONGEST = 200  # characters of a key or value in a message


def problem_in_state(expected: Mapping[str, Tensor], got: Any, types: Collection[torch.dtype] = ()) -> str:
    """The first reason why `got` is no state like `expected`; empty where there is none.

    Args:
        expected: tensors by name, of which only shapes and types count; they may be on the device ``meta``.
        got: any object: the same names must hold tensors of the same shapes and types, all of them finite, and the
            variances that normalisation layers divide by not negative.
        types: of numbers that are admitted in place of each expected one.
    """
    if not isinstance(got, Mapping):
        return f"expected tensors by name, got a {type(got).__name__}"
    for key in sorted(expected.keys() | got.keys(), key=str):
        problem = _problem_in_tensor(str(key), expected.get(key), got.get(key), types)
        if problem:
            return f"{key!s:.{_LONGEST}}: {problem}"
    return ""


def _problem_in_tensor(key: str, expected: Tensor | None, got: Any, types: Collection[torch.dtype]) -> str:
    if expected is None:
        return "is not expected"
    if got is None:
        return f"is missing, expected shape {tuple(expected.shape)}"
    if not isinstance(got, Tensor):
        return f"expected a tensor, got a {type(got).__name__}"
    if got.shape != expected.shape:
        return f"expected shape {tuple(expected.shape)}, got {tuple(got.shape)}"
    types = types or (expected.dtype,)
    if got.dtype not in types or got.layout != torch.strided or got.is_meta:
        return f"expected {' or '.join(map(str, types))} values, got {got.dtype}, {got.layout} on {got.device}"
    if not is_finite(got):
        count = int((~torch.isfinite(got)).sum())
        return f"expected finite numbers, got {count} of {got.numel()} that are not finite"
    if key.endswith("running_var") and bool((got < 0).any()):
        return "expected variances of 0 or more, got negative ones"
    return ""


def check_private_state(site: str, what: str, expected: Mapping[str, Tensor], got: Any) -> None:
    """Raises InputError where a private state of an earlier round does not fit the job's network."""
    if problem := problem_in_state(expected, got):
        raise InputError(
            f"site {site}: stored private state does not fit this job's network: {what}: {problem}; start the job "
            "under another name"
        )


def is_finite(tensor: Tensor) -> bool:
    """Whether no value of a tensor is NaN or infinite."""
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor).all())


def not_finite(state: Any, path: str = "") -> str:
    """Path to the first tensor with NaN or infinity in nested mappings, lists and tuples; empty where none is."""
    return next((where for where, tensor in _tensors(state, path) if not is_finite(tensor)), "")


def _tensors(state: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield path, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, f"{path}/{key}" if path else str(key))
    elif isinstance(state, (list, tuple)):
        for place, value in enumerate(state):
            yield from _tensors(value, f"{path}/{place}" if path else str(place))


def norm_of(tensors: Iterable[Tensor]) -> float:
    """Euclidean norm of the floating-point ones among `tensors`, as of one vector, in double precision."""
    parts = [float(torch.linalg.vector_norm(t.detach(), dtype=torch.float64)) for t in tensors if t.is_floating_point()]
    return math.hypot(*parts)
