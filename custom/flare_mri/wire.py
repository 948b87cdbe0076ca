# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Names of all that crosses the wire: tasks, metadata and metrics. What is not named here does not leave a site."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor


class TaskName:
    """Tasks a server may give to a site."""

    CHECK: Final = "check"
    TRAIN: Final = "train"
    VALIDATE: Final = "validate"
    SUBMIT: Final = "submit_model"
    ROUTE: Final = "route"


class MetaKey:
    """Metadata a server sends with the global shared part."""

    RUN: Final = "flare_mri_run"
    NEGATIVES: Final = "flare_mri_negatives"
    NETWORK: Final = "flare_mri_network"


DEFAULT_NEGATIVES: Final = "all"
NEGATIVES_DTYPES: Final = ("float32", "bfloat16")
MAX_SLICES: Final = 10**7
"""That a site may claim to have; a hospital's whole archive is smaller."""

METRIC_NAME: Final = re.compile(
    r"(slices/(train|validation|test)"
    r"|train/(loss|seconds)"
    r"|wire/(received|sent)"
    r"|best/round"
    r"|((best|personal)/)?(validation|test)/[a-z][a-z0-9_]{0,31}"
    r"|zero_filled/test/[a-z][a-z0-9_]{0,31}"
    r"|(global|mean|unadapted|routing|expert-[0-9]{1,3})/test/[a-z][a-z0-9_]{0,31}"
    r"|routing/(seconds|fallback|entropy_before|entropy_after|movement)"
    r"|routing/weight/[A-Za-z0-9_.]{1,128}/[0-9]{1,3})\Z"
)
"""Metrics a site may send: one finite number each, over a whole split, never per case."""


def problem_in_metrics(metrics: Any) -> str:
    """What keeps metrics from leaving a site, and the server from taking them; empty where nothing does."""
    if not isinstance(metrics, Mapping):
        return f"metrics are a {type(metrics).__name__}, expected names and numbers"
    for name, value in metrics.items():
        if not isinstance(name, str) or not METRIC_NAME.match(name):
            return f"metric {name!r:.80} is not listed"
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return f"metric {name!r} is {value!r:.40}, expected one finite number"
    return ""


def prefixed(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Put `prefix/` before every name."""
    return {f"{prefix}/{name}": float(value) for name, value in metrics.items()}


def under(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics whose names start with `prefix/`, without it."""
    return {k.removeprefix(f"{prefix}/"): v for k, v in metrics.items() if k.startswith(f"{prefix}/")}


def encode_negatives(
    updates: Mapping[str, Mapping[str, Tensor]], shared: Mapping[str, Tensor], dtype: str
) -> dict[str, dict[str, Tensor]]:
    """The sites' former shared parts as differences from the new global one: small numbers, which bfloat16 can hold.

    Args:
        updates: site -> what it sent; integer buffers take no part.
        shared: the new global shared part.
        dtype: ``float32`` or ``bfloat16``.
    """
    number = getattr(torch, dtype)
    return {
        site: {k: (v - shared[k]).to(number) for k, v in updates[site].items() if v.is_floating_point()}
        for site in sorted(updates)
    }


def decode_negatives(
    encoded: Mapping[str, Mapping[str, Tensor]], shared: Mapping[str, Tensor]
) -> list[dict[str, Tensor]]:
    """Back to shared parameters, in order of site names."""
    return [{k: shared[k] + d.to(shared[k].dtype) for k, d in encoded[site].items()} for site in sorted(encoded)]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def payload_bytes(value: Any) -> int:
    """Bytes of all tensors in `value`: a message's size without its envelope."""
    return sum(t.numel() * t.element_size() for t in tensors_in(value))
