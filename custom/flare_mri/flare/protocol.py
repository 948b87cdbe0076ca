# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Names of all that crosses the wire: tasks, metadata and metrics. What is not named here does not leave a site."""

import hashlib
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


NEGATIVES: Final = ("all", "own", "none")
DEFAULT_NEGATIVES: Final = "own"
"""No hospital is sent another's weights; the paper's ``all`` was 0.23 and 0.09 dB better on four real sites."""
NEGATIVES_DTYPES: Final = ("float32", "bfloat16")
MAX_NEGATIVES: Final = 1024
"""That a site takes in a round: one for every hospital of a federation."""

RECONSTRUCTION_METRICS: Final = ("psnr", "volume_psnr", "ssim", "nmse")
SEGMENTATION_METRICS: Final = ("slice_dice", "dice", "hd95")
REFUSED: Final = "refused"
POLICY_PARTS: Final = ("method", "shared_layers", "network", "optimizer")
"""What a site's policy may refuse of a job: its CHECK answer then holds ``refused/<part>``, always 1."""

_SCORE = "|".join(RECONSTRUCTION_METRICS + SEGMENTATION_METRICS)
METRIC_NAME: Final = re.compile(
    r"(slices/(train|validation|test)"
    r"|train/(loss|seconds)"
    r"|wire/(received|sent)"
    r"|best/round"
    rf"|((best|personal)/)?(validation|test)/({_SCORE})"
    rf"|zero_filled/test/({_SCORE})"
    rf"|(global|mean|unadapted|routing|expert-[0-9]{{1,3}})/test/({_SCORE})"
    r"|routing/(seconds|fallback|entropy_before|entropy_after|movement)"
    r"|routing/weight/[A-Za-z0-9_.]{1,128}/[0-9]{1,3}"
    rf"|{REFUSED}/({'|'.join(POLICY_PARTS)}))\Z"
)
"""Metrics a site may send: one finite number each, over a whole split, never per case."""

MAX_METRICS: Final = 4096
"""In one answer. Routing weights are the most: the U-Net's 33 layers with 120 experts, or 289 layers with 14."""

MAX_METRIC: Final = 1e12
"""Of any metric's absolute value: results are filed as JSON, counts as whole numbers."""

MAX_SLICES: Final = 10**7
"""That a site may claim to have; a hospital's whole archive is smaller."""


def problem_in_metrics(metrics: Any) -> str:
    """What keeps metrics from leaving a site, and the server from taking them; empty where nothing does."""
    if not isinstance(metrics, Mapping):
        return f"metrics are a {type(metrics).__name__}, expected names and numbers"
    if len(metrics) > MAX_METRICS:
        return f"{len(metrics)} metrics, expected at most {MAX_METRICS}"
    for name, value in metrics.items():
        if not isinstance(name, str) or not METRIC_NAME.match(name):
            return f"metric {name!r:.80} is not listed"
        if not _is_finite(value):
            return f"metric {name!r} is {_shown(value)}, expected one finite number"
        if name.startswith("slices/") and not (value == int(value) and 0 <= value <= MAX_SLICES):
            return f"metric {name!r} is {_shown(value)}, expected a whole number of at most {MAX_SLICES}"
        if abs(value) > MAX_METRIC:
            return f"metric {name!r} is {_shown(value)}, expected at most {MAX_METRIC:g}"
        if name.startswith(f"{REFUSED}/") and value != 1:
            return f"metric {name!r} is {_shown(value)}, expected 1"
    return ""


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _shown(value: Any) -> str:
    """A foreign value for a message; Python itself refuses to write an integer of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "an integer beyond every number of ours"
    return f"{value!r:.40}"


def prefixed(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Put `prefix/` before every name."""
    return {f"{prefix}/{name}": float(value) for name, value in metrics.items()}


def under(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics whose names start with `prefix/`, without it."""
    return {k.removeprefix(f"{prefix}/"): v for k, v in metrics.items() if k.startswith(f"{prefix}/")}


def negative_differences(
    updates: Mapping[str, Mapping[str, Tensor]], shared: Mapping[str, Tensor], dtype: str
) -> dict[str, dict[str, Tensor]]:
    """The sites' former shared parts as differences from the new global one: small numbers, which bfloat16 can hold.

    Args:
        updates: site -> what it sent; integer buffers take no part.
        shared: the new global shared part.
        dtype: one of :data:`NEGATIVES_DTYPES`.
    """
    number = getattr(torch, dtype)
    return {
        site: {k: (v - shared[k]).to(number) for k, v in updates[site].items() if v.is_floating_point()}
        for site in sorted(updates)
    }


def encode_negatives(differences: Mapping[str, Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
    """The differences as they travel: without names, in the order of their checksums.

    The order is a function of the contents alone. It tells nothing of the sites that the contents do not tell, is a
    new one each round, and is the same in a run that is resumed: rounding in the contrastive term stays to the bit
    what it was. A permutation drawn from the run's id and the round would be known to every site, which gets both.

    Args:
        differences: of :func:`negative_differences`, by site.
    """
    return [dict(part) for part in sorted(differences.values(), key=_checksum)]


def _checksum(tensors: Mapping[str, Tensor]) -> bytes:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def decode_negatives(encoded: Any, shared: Mapping[str, Tensor]) -> tuple[list[dict[str, Tensor]], list[str]]:
    """Back to shared parameters; what a server may not send is left out, before anything is computed with it.

    Args:
        encoded: as :func:`encode_negatives` gave it, by way of a server that need not be ours.
        shared: the global shared part that came with it.

    Returns:
        The good negatives in the order they came in, and a line for each that is left out, with its place from 0.
    """
    if not isinstance(encoded, (list, tuple)):
        return [], [f"negatives: a {type(encoded).__name__}, expected a list"]
    good, problems = [], []
    for place, negative in enumerate(encoded[:MAX_NEGATIVES]):
        problem = _problem_in_negative(negative, shared)
        restored = {} if problem else {k: shared[k] + d.to(shared[k].dtype) for k, d in negative.items()}
        bad = next((k for k, v in restored.items() if not torch.isfinite(v).all()), None)
        if problem or bad is not None:
            problems.append(f"negative {place}: {problem or f'{bad}: values that are not finite'}")
        else:
            good.append(restored)
    if len(encoded) > MAX_NEGATIVES:
        problems.append(f"negatives: {len(encoded)}, expected at most {MAX_NEGATIVES}; the others are left out")
    return good, problems


def _problem_in_negative(negative: Any, shared: Mapping[str, Tensor]) -> str:
    """The first thing wrong with keys, types and shapes; where there is none, sizes are those of `shared`."""
    if not isinstance(negative, Mapping):
        return f"a {type(negative).__name__}, expected tensors by name"
    expected = {key: value for key, value in shared.items() if value.is_floating_point()}
    for key in negative:
        if key not in expected:
            return f"{key!s:.200}: not part of what is shared, expected no such key"
    for key, value in expected.items():
        got = negative.get(key)
        if not isinstance(got, Tensor):
            return f"{key}: {'missing' if got is None else f'a {type(got).__name__}'}, expected a tensor"
        if got.shape != value.shape:
            return f"{key}: shape {tuple(got.shape)}, expected {tuple(value.shape)}"
        if str(got.dtype).removeprefix("torch.") not in NEGATIVES_DTYPES or got.layout != torch.strided:
            return f"{key}: {got.dtype}, {got.layout}, expected {' or '.join(NEGATIVES_DTYPES)}, dense"
    return ""


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
