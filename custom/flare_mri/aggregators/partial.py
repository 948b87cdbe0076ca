# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Aggregation of the shared part of the sites' networks."""

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

    Args:
        weighting: ``equal`` (FedMRI) or ``slices`` (IOP-FL: by the sites' numbers of training slices).
    """

    def __init__(self, weighting: str = "equal"):
        super().__init__()
        if weighting not in WEIGHTINGS:
            raise InputError(f"weighting {weighting!r}: expected one of {', '.join(WEIGHTINGS)}")
        self.weighting = weighting
        self._reference: Mapping[str, Tensor] = {}
        self._round = 0
        self.accepted: dict[str, FLModel] = {}
        self.rejected: dict[str, str] = {}

    def begin_round(self, reference: Mapping[str, Tensor], round_number: int) -> None:
        """Forget the round before; updates are now compared with `reference`, the global shared part."""
        self.reset_stats()
        self._reference, self._round = reference, round_number

    def reset_stats(self) -> None:
        """Forget all updates."""
        self.accepted, self.rejected = {}, {}

    def accept_model(self, model: FLModel) -> bool:
        """Check one site's update; True if it will count."""
        site = str(model.meta.get("client_name", "?"))
        problem = self._problem(site, model)
        if problem:
            self.rejected[site] = problem
        else:
            self.accepted[site] = model
        return not problem

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
        if self.weighting == "slices" and not (model.metrics or {}).get("slices/train", 0) > 0:
            return "slices/train is missing, expected the number of training slices"
        for key in sorted(self._reference.keys() | model.params.keys()):
            problem = _compare(key, self._reference.get(key), model.params.get(key))
            if problem:
                return problem
        return ""


def _compare(key: str, expected: Tensor | None, got: Any) -> str:
    if expected is None:
        return f"{key}: not part of what is shared, expected no such key"
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
