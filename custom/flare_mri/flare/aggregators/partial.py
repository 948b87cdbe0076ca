# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Aggregation of the shared part of the sites' networks."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.flare.aggregators.norms import NormScale, entry_norm, norm
from flare_mri.flare.protocol import MAX_SLICES

WEIGHTINGS = ("equal", "slices")
MAX_NORM, CLIP_NORM, MAX_WEIGHT = 100.0, 3.0, 10.0
"""Defaults of the aggregator, of the recipes and of the command line."""


class PartialAggregator(ModelAggregator):
    """Average the sites' shared parts, after a look at each.

    Every update is checked before anything is added up: same keys, shapes and dtypes as the global shared part, all
    values finite, the present round, one update a site. A bad one is left out and named in :attr:`rejected`; the
    global model never sees it. The sum runs in order of site names and in double precision, so the result does not
    depend on the order of arrival.

    Floating-point entries are averaged; of integer buffers (BatchNorm's ``num_batches_tracked``) the largest is taken.

    The size of an update is the Euclidean norm of its difference from the global shared part. One a few times larger
    than the others' is scaled down (norm clipping, Sun et al., arXiv 1911.07963), so that no site moves the mean by
    more than `clip_norm` sizes over the number of sites; one far larger is a mistake or an attack and is left out.
    Sizes are compared with the round's *lower* median, which stays with the honest sites up to and including half of
    them, in a federation of two as well, and which has a floor against sites that send nothing
    (:class:`~flare_mri.flare.aggregators.norms.NormScale` says which and why).

    Weights by slices are the sites' own claims: no claim counts more than `max_weight` times the lower median of the
    round's claims, so that no site takes the average for itself.

    Args:
        weighting: ``equal`` (FedMRI) or ``slices`` (IOP-FL: by the sites' numbers of training slices).
        max_norm: an update larger than `max_norm` medians is left out; 0 admits any size.
        clip_norm: an update larger than `clip_norm` medians is scaled down to that size; 0 clips nothing.
        max_weight: slices above `max_weight` medians do not count, with weighting ``slices``; 0 counts all.
    """

    def __init__(
        self,
        weighting: str = "equal",
        max_norm: float = MAX_NORM,
        clip_norm: float = CLIP_NORM,
        max_weight: float = MAX_WEIGHT,
    ):
        super().__init__()
        if weighting not in WEIGHTINGS:
            raise InputError(f"weighting {weighting!r}: expected one of {', '.join(WEIGHTINGS)}")
        for name, value in (("max_norm", max_norm), ("clip_norm", clip_norm), ("max_weight", max_weight)):
            if value and not 1 <= value < math.inf:
                raise InputError(f"{name} = {value}: expected 0 (off) or a multiple of the median from 1 on")
        self.weighting = weighting
        self.max_norm = max_norm
        self.clip_norm = clip_norm
        self.max_weight = max_weight
        self.scale = NormScale()
        self._reference: Mapping[str, Tensor] = {}
        self._round = 0
        self.accepted: dict[str, FLModel] = {}
        self.rejected: dict[str, str] = {}
        self.clipped: dict[str, float] = {}
        self.capped: dict[str, tuple[float, float]] = {}

    def begin_round(self, reference: Mapping[str, Tensor], round_number: int) -> None:
        """Forget the round before; updates are now compared with `reference`, the global shared part."""
        self.reset_stats()
        self._reference, self._round = reference, round_number

    def reset_stats(self) -> None:
        """Forget all updates."""
        self.accepted, self.rejected, self.clipped, self.capped = {}, {}, {}, {}

    def accept_model(self, model: FLModel) -> bool:
        """Check one site's update; True if it will count."""
        site = str(model.meta.get("client_name", "?"))
        problem = self._problem(site, model)
        if problem:
            self.rejected[site] = problem
        else:
            self.accepted[site] = model
        return not problem

    def compare_norms(self, clip: bool = True) -> None:
        """Look at the sizes of all accepted updates, once the round's last has come.

        One that is more than `max_norm` times the scale moves to :attr:`rejected`; those more than `clip_norm` times
        as large are scaled down, and :attr:`clipped` holds by what factor.

        Args:
            clip: False scales nothing down: personal models may be far from the global one.
        """
        norms = {site: norm(model.params, self._reference) for site, model in self.accepted.items()}
        self.scale.follow(norms.values(), self._reference)
        for site, size in norms.items():
            if self.max_norm and size > self.max_norm * self.scale.least:
                self.rejected[site] = self._too_large(site, size)
                del self.accepted[site]
            elif clip and self.clip_norm and size > self.clip_norm * self.scale.value:
                self.clipped[site] = self.clip_norm * self.scale.value / size
                self.accepted[site].params = self._scaled(self.accepted[site].params, self.clipped[site])

    def _too_large(self, site: str, size: float) -> str:
        sizes = {k: entry_norm(v, self._reference[k]) for k, v in self.accepted[site].params.items()}
        largest = max(sizes, key=sizes.__getitem__)
        return (
            f"update of norm {size:.3g}, expected at most {self.max_norm:g} times the round's median, or its floor, "
            f"{self.scale.least:.3g}; largest in {largest} ({sizes[largest]:.3g})"
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
        weights = self._weights(sites)
        updates = [self.accepted[site].params for site in sites]
        params = {key: _mean([u[key] for u in updates], weights) for key in self._reference}
        return FLModel(params_type=ParamsType.FULL, params=params, current_round=self._round)

    def _weights(self, sites: Sequence[str]) -> list[float]:
        """Of the sites, summing to 1; :attr:`capped` then holds of whom how many slices were claimed and counted."""
        if self.weighting == "equal":
            return [1 / len(sites)] * len(sites)
        claims = {site: float((self.accepted[site].metrics or {})["slices/train"]) for site in sites}
        most = self.max_weight * statistics.median_low(claims.values()) if self.max_weight else math.inf
        self.capped = {site: (claim, most) for site, claim in claims.items() if claim > most}
        counted = [min(claim, most) for claim in claims.values()]
        return [claim / sum(counted) for claim in counted]

    def remarks(self) -> list[str]:
        """What was done to the accepted updates, a line for each."""
        scaled = [f"update of {site} scaled down to {by:.1%} of its norm" for site, by in sorted(self.clipped.items())]
        capped = [
            f"{claim:.0f} slices of {site} count as {most:.0f}, {self.max_weight:g} times the round's median"
            for site, (claim, most) in sorted(self.capped.items())
        ]
        return scaled + capped

    def _problem(self, site: str, model: FLModel) -> str:
        if site in self.accepted:
            return "second update in one round, expected one"
        if model.current_round != self._round:
            return f"update of round {model.current_round}, expected round {self._round}"
        if model.params_type != ParamsType.FULL or not isinstance(model.params, Mapping):
            return f"parameters of type {model.params_type}, expected {ParamsType.FULL}"
        if self.weighting == "slices":
            slices = (model.metrics or {}).get("slices/train")
            if not isinstance(slices, (int, float)) or not 1 <= slices <= MAX_SLICES or slices != int(slices):
                return f"slices/train: {slices!r:.40}, expected the number of training slices, 1 to {MAX_SLICES}"
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
    if key.endswith("running_var") and bool((got < 0).any()):
        return f"{key}: negative variances, which no site could load"
    return ""


def _mean(values: list[Tensor], weights: list[float]) -> Tensor:
    if not values[0].is_floating_point():
        return torch.stack(values).amax(dim=0)
    total = torch.zeros_like(values[0], dtype=torch.float64)
    for value, weight in zip(values, weights, strict=True):
        total.add_(value, alpha=weight)
    return total.to(values[0].dtype)
