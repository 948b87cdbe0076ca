# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Aggregation of the shared part of the sites' networks."""

import math
import statistics
from collections.abc import Mapping
from typing import Any

import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
from torch import Tensor

from flare_mri.errors import InputError

WEIGHTINGS = ("equal", "slices")


class PartialAggregator(ModelAggregator):
    """Average the sites' shared parts, after a look at each.

    Every update is checked before anything is added up: same keys, shapes and dtypes as the global shared part, all
    values finite, the present round, one update a site. A bad one is left out and named in :attr:`rejected`; the
    global model never sees it. The sum runs in order of site names and in double precision, so the result does not
    depend on the order of arrival.

    Floating-point entries are averaged; of integer buffers (BatchNorm's ``num_batches_tracked``) the largest is taken.

    The size of an update is the Euclidean norm of its difference from the global shared part. An update far larger than
    the round's median is a mistake or an attack and is left out; with `clip_norm` those a little larger are scaled down
    (norm clipping, Sun et al., arXiv 1911.07963, with the round's median in place of a fixed bound). The *lower* median
    is meant: it stays with the honest sites up to and including half of them, in a federation of two as well.

    Args:
        weighting: ``equal`` (FedMRI) or ``slices`` (IOP-FL: by the sites' numbers of training slices).
        max_norm: an update larger than `max_norm` medians is left out; 0 admits any size.
        clip_norm: an update larger than `clip_norm` medians is scaled down to that size; 0, the default, clips nothing.
    """

    def __init__(self, weighting: str = "equal", max_norm: float = 100.0, clip_norm: float = 0.0):
        super().__init__()
        if weighting not in WEIGHTINGS:
            raise InputError(f"weighting {weighting!r}: expected one of {', '.join(WEIGHTINGS)}")
        for name, value in (("max_norm", max_norm), ("clip_norm", clip_norm)):
            if value and not 1 <= value < math.inf:
                raise InputError(f"{name} = {value}: expected 0 (off) or a multiple of the median from 1 on")
        self.weighting = weighting
        self.max_norm = max_norm
        self.clip_norm = clip_norm
        self._reference: Mapping[str, Tensor] = {}
        self._round = 0
        self.accepted: dict[str, FLModel] = {}
        self.rejected: dict[str, str] = {}
        self.clipped: dict[str, float] = {}

    def begin_round(self, reference: Mapping[str, Tensor], round_number: int) -> None:
        """Forget the round before; updates are now compared with `reference`, the global shared part."""
        self.reset_stats()
        self._reference, self._round = reference, round_number

    def reset_stats(self) -> None:
        """Forget all updates."""
        self.accepted, self.rejected, self.clipped = {}, {}, {}

    def accept_model(self, model: FLModel) -> bool:
        """Check one site's update; True if it will count."""
        site = str(model.meta.get("client_name", "?"))
        problem = self._problem(site, model)
        if problem:
            self.rejected[site] = problem
        else:
            self.accepted[site] = model
        return not problem

    def compare_norms(self) -> None:
        """Look at the sizes of all accepted updates, once the round's last has come.

        One that is more than `max_norm` times the median moves to :attr:`rejected`; with `clip_norm` larger ones are
        scaled down, and :attr:`clipped` holds by what factor.
        """
        norms = {site: self._norm(model.params) for site, model in self.accepted.items()}
        median = statistics.median_low(norms.values()) if norms else 0.0
        if not median:  # one update, nothing shared, or half of the sites did not move at all: no scale to compare with
            return
        for site, norm in norms.items():
            if self.max_norm and norm > self.max_norm * median:
                self.rejected[site] = self._too_large(site, norm, median)
                del self.accepted[site]
            elif self.clip_norm and norm > self.clip_norm * median:
                self.clipped[site] = self.clip_norm * median / norm
                self.accepted[site].params = self._scaled(self.accepted[site].params, self.clipped[site])

    def _norm(self, params: Mapping[str, Tensor]) -> float:
        return math.sqrt(sum(self._norm_of(key, value) ** 2 for key, value in params.items()))

    def _norm_of(self, key: str, value: Tensor) -> float:
        if not value.is_floating_point():
            return 0.0
        return float(torch.linalg.vector_norm(value.double() - self._reference[key].double()))

    def _too_large(self, site: str, norm: float, median: float) -> str:
        params = self.accepted[site].params
        largest = max(params, key=lambda key: self._norm_of(key, params[key]))
        return (
            f"update of norm {norm:.3g}, expected at most {self.max_norm:g} times the round's median {median:.3g}; "
            f"largest in {largest} ({self._norm_of(largest, params[largest]):.3g})"
        )

    def _scaled(self, params: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
        return {k: torch.lerp(self._reference[k], v, factor) if v.is_floating_point() else v for k, v in params.items()}

    def aggregate_model(self) -> FLModel:
        """The weighted mean of the accepted updates.

        Raises:
            InputError: no update was accepted; there is no mean of nothing.
        """
        if not self.accepted:
            raise InputError(f"round {self._round}: no site sent a usable update ({self.rejected or 'no answer'})")
        sites = sorted(self.accepted)
        raw = [
            1.0 if self.weighting == "equal" else float((self.accepted[s].metrics or {})["slices/train"]) for s in sites
        ]
        weights = [w / sum(raw) for w in raw]
        updates = [self.accepted[site].params for site in sites]
        params = {key: _mean([u[key] for u in updates], weights) for key in self._reference}
        return FLModel(params_type=ParamsType.FULL, params=params, current_round=self._round)

    def _problem(self, site: str, model: FLModel) -> str:
        if site in self.accepted:
            return "second update in one round, expected one"
        if model.current_round != self._round:
            return f"update of round {model.current_round}, expected round {self._round}"
        if model.params_type != ParamsType.FULL or not isinstance(model.params, Mapping):
            return f"parameters of type {model.params_type}, expected {ParamsType.FULL}"
        if self.weighting == "slices":
            slices = (model.metrics or {}).get("slices/train")
            if not isinstance(slices, (int, float)) or not 0 < slices < math.inf:
                return f"slices/train: {slices!r:.40}, expected the number of training slices"
        for key in sorted(self._reference.keys() | model.params.keys(), key=str):
            problem = _compare(key, self._reference.get(key), model.params.get(key))
            if problem:
                return problem
        return ""


def _compare(key: str, expected: Tensor | None, got: Any) -> str:
    if expected is None:
        return f"{key!s:.200}: not part of what is shared, expected no such key"
    if got is None:
        return f"{key}: missing, expected shape {tuple(expected.shape)}"
    if not isinstance(got, Tensor):
        return f"{key}: a {type(got).__name__}, expected a tensor"
    if got.shape != expected.shape:
        return f"{key}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}"
    if got.dtype != expected.dtype:
        return f"{key}: dtype {got.dtype}, expected {expected.dtype}"
    if got.is_floating_point() and not torch.isfinite(got).all():
        return f"{key}: {int((~torch.isfinite(got)).sum())} of {got.numel()} values are not finite"
    return ""


def _mean(values: list[Tensor], weights: list[float]) -> Tensor:
    if not values[0].is_floating_point():
        return torch.stack(values).amax(dim=0)
    total = torch.zeros_like(values[0], dtype=torch.float64)
    for value, weight in zip(values, weights, strict=True):
        total.add_(value, alpha=weight)
    return total.to(values[0].dtype)
