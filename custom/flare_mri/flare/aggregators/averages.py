# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The average of a round's updates, taken from disk piece by piece: weighted mean, median, trimmed mean, multi-Krum."""

from collections.abc import Sequence

import torch
from torch import Tensor

from flare_mri.flare.aggregators.robust import choose_by_krum, median, squared_distances, trimmed_mean
from flare_mri.flare.aggregators.round_updates import RoundUpdates, State


def sites_by_krum(updates: RoundUpdates, sites: Sequence[str], dishonest: int) -> list[str]:
    """The sites whose updates multi-Krum averages, by all floating-point entries.

    Args:
        updates: of the round.
        sites: to choose from.
        dishonest: how many of them are left out.
    """
    floating = [key for key, value in updates.whole.items() if value.is_floating_point()]
    pieces = (piece for key in floating for piece in updates.pieces(sites, key))
    return [sites[place] for place in choose_by_krum(squared_distances(pieces, len(sites)), dishonest)]


def average_updates(
    updates: RoundUpdates, sites: Sequence[str], weights: Sequence[float], average: str, dishonest: int
) -> State:
    """All tensors of the updates, averaged; of integers the largest is taken.

    Args:
        updates: of the round.
        sites: that count, in the order in which they are added up.
        weights: theirs in a mean, summing to 1.
        average: ``median`` and ``trimmed_mean`` count all alike; else the weighted mean.
        dishonest: values that a trimmed mean leaves out on either side.
    """
    found = {}
    for key, like in updates.whole.items():
        pieces = [_average(piece, weights, average, dishonest) for piece in updates.pieces(sites, key)]
        found[key] = torch.cat(pieces).reshape(like.shape)
    return found


def _average(values: Sequence[Tensor], weights: Sequence[float], average: str, dishonest: int) -> Tensor:
    if not values[0].is_floating_point():
        return torch.stack(list(values)).amax(dim=0)
    if average == "median":
        return median(values)
    return trimmed_mean(values, dishonest) if average == "trimmed_mean" else _mean(values, weights)


def _mean(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = torch.zeros_like(values[0], dtype=torch.float64)
    for value, weight in zip(values, weights, strict=True):
        total.add_(value, alpha=weight)
    return total.to(values[0].dtype)
