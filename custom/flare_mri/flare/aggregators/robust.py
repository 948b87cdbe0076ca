# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Averages that a few dishonest or broken sites cannot move far: median, trimmed mean, multi-Krum.

All count sites alike: a weight by slices would be a site's own claim. What they cost without an attack, on sites that
differ, is more than nothing: an honest site unlike the others is what they leave out.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from flare_mri.errors import InputError


def median(values: Sequence[Tensor]) -> Tensor:
    """Coordinate-wise median of tensors of one shape, of an even number the middle two's mean (Yin et al., ICML 2018,
    arXiv 1803.01498)."""
    ordered = torch.stack([value.double() for value in values]).sort(0).values
    middle = ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]
    return (middle / 2).to(values[0].dtype)


def trimmed_mean(values: Sequence[Tensor], dishonest: int) -> Tensor:
    """Coordinate-wise mean without the `dishonest` largest and smallest values (Yin et al., arXiv 1803.01498)."""
    ordered = torch.stack([value.double() for value in values]).sort(0).values
    return ordered[dishonest : len(values) - dishonest].mean(0).to(values[0].dtype)


def squared_distances(pieces: Iterable[Sequence[Tensor]], count: int) -> Tensor:
    """Squared Euclidean distances of each of `count` updates to each, in double precision, [count, count].

    Args:
        pieces: of the updates, in any order: of each update a tensor, all of one shape.
        count: of updates.
    """
    distances = torch.zeros(count, count, dtype=torch.float64)
    for values in pieces:
        for one in range(count):
            for two in range(one):
                distances[one, two] += (values[one].double() - values[two].double()).square().sum()
    return distances + distances.T


def choose_by_krum(distances: Tensor, dishonest: int) -> list[int]:
    r"""Places of the updates to average: multi-Krum (Blanchard et al., NeurIPS 2017, arXiv 1703.02757).

    Each update's score is the sum of squared distances to its n - f - 2 nearest neighbours; the n - f of the lowest
    scores are taken.

    Args:
        distances: of :func:`squared_distances`, between n updates.
        dishonest: f.
    """
    count = len(distances)
    nearest = distances.sort(1).values[:, 1 : count - dishonest - 1]  # the first is the update itself
    return sorted(nearest.sum(1).argsort(stable=True)[: count - dishonest].tolist())


def count_dishonest(average: str, dishonest: int, sites: int) -> int:
    """The number of sites that an average is to withstand, once it can among so many.

    Raises:
        InputError: there are too few sites: a trimmed mean needs 2 f + 1 of them, multi-Krum 2 f + 3.
    """
    least = {"trimmed_mean": 2 * dishonest + 1, "krum": 2 * dishonest + 3}.get(average, 1)
    if sites < least:
        raise InputError(
            f"average: {average} against {dishonest} dishonest sites: expected updates of at least {least} sites, got "
            f"{sites}; lower dishonest, or choose the median"
        )
    return dishonest
