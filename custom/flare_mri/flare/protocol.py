# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Names of all that crosses the wire: tasks, metadata and metrics. What is not named here does not leave a site."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from torch import Tensor

from flare_mri.config.results import BASELINES
from flare_mri.metrics.metric_table import HELD_OUT_SNR

PROGRESS = "flare_mri"
"""Group of FLARE's ``show_stats`` in which the server tells the rounds of a job that runs."""


class TaskName:
    """Tasks a server may give to a site."""

    CHECK: Final = "check"
    TRAIN: Final = "train"
    VALIDATE: Final = "validate"
    SUBMIT: Final = "submit_model"
    CROSS_EVALUATE: Final = "cross_evaluate"
    ROUTE: Final = "route"


class MetaKey:
    """Metadata a server sends with the global shared part."""

    RUN: Final = "flare_mri_run"
    METHOD: Final = "flare_mri_method"
    """Message of the method's server part, see :meth:`flare_mri.methods.ServerHooks.message`."""
    NETWORK: Final = "flare_mri_network"
    PLAN: Final = "flare_mri_plan"
    """Of segmentation, see :class:`flare_mri.config.segmentation.SegmentationPlan`."""
    DICE: Final = "flare_mri_dice"
    """Of a routing space, see :class:`flare_mri.routing.space.RoutingSpace`."""


RECONSTRUCTION_METRICS: Final = ("psnr", "volume_psnr", "ssim", "nmse", HELD_OUT_SNR)
SEGMENTATION_METRICS: Final = ("slice_dice", "dice", "hd95", "false_slices")
REFUSED: Final = "refused"
CONSENT: Final = "cross_site/consent"
"""Of a CHECK answer of a site that takes other sites' personal models and gives its own, always 1."""
PHANTOM: Final = "data/phantom"
"""Of an answer of a site whose data are all of the phantom, always 1."""
POLICY_PARTS: Final = ("method", "shared_layers", "network", "optimizer", "privacy")
"""Parts of a job that a site's policy may refuse: its CHECK answer then holds ``refused/<part>``, always 1."""

_SCORE = "|".join((*RECONSTRUCTION_METRICS, *SEGMENTATION_METRICS, r"(dice|hd95)\.[A-Za-z0-9_-]{1,32}"))
METRIC_NAME: Final = re.compile(
    r"(slices/(train|validation|test)"
    r"|train/(loss|seconds)"
    r"|wire/(received|sent)"
    r"|best/round"
    rf"|{CONSENT}|{PHANTOM}"
    r"|privacy/(epsilon|delta|spent)"
    rf"|((best|personal)/)?(validation|test)/({_SCORE})"
    rf"|({'|'.join(BASELINES)})/test/({_SCORE})"
    rf"|(global|mean|global_site|mean_site|mean_matched|matched|unadapted|routing|expert-[0-9]{{1,3}})/test/({_SCORE})"
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
    """The first reason why metrics may not leave a site, nor be taken by the server; empty where there is none."""
    if not isinstance(metrics, Mapping):
        return f"metrics are a {type(metrics).__name__}, expected names and numbers"
    if len(metrics) > MAX_METRICS:
        return f"{len(metrics)} metrics, expected at most {MAX_METRICS}"
    for name, value in metrics.items():
        if not isinstance(name, str) or not METRIC_NAME.match(name):
            return f"metric {name!r:.80} is not listed"
        if not _is_finite(value):
            return f"metric {name!r} is {_show(value)}, expected one finite number"
        if name.startswith("slices/") and not (value == int(value) and 0 <= value <= MAX_SLICES):
            return f"metric {name!r} is {_show(value)}, expected a whole number of at most {MAX_SLICES}"
        if abs(value) > MAX_METRIC:
            return f"metric {name!r} is {_show(value)}, expected at most {MAX_METRIC:g}"
        if (name in (CONSENT, PHANTOM) or name.startswith(f"{REFUSED}/")) and value != 1:
            return f"metric {name!r} is {_show(value)}, expected 1"
    return ""


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _show(value: Any) -> str:
    """A foreign value for a message; Python itself refuses to write an integer of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "an integer beyond every number of ours"
    return f"{value!r:.40}"


def add_prefix(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Put `prefix/` before every name."""
    return {f"{prefix}/{name}": float(value) for name, value in metrics.items()}


def under(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics whose names start with `prefix/`, without it."""
    return {k.removeprefix(f"{prefix}/"): v for k, v in metrics.items() if k.startswith(f"{prefix}/")}


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
