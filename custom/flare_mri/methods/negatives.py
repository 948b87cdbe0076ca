# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The encoders of the round before as they travel to the sites, the negatives of FedMRI's contrastive term."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from flare_mri.networks.differences import add, compress, expand, subtract
from flare_mri.networks.state_check import not_finite

MAX_NEGATIVES: Final = 1024
"""That a site takes in a round: one for every hospital of a federation."""


def negative_differences(
    updates: Mapping[str, Mapping[str, Tensor]], shared: Mapping[str, Tensor], number: str, most: int = 0
) -> dict[str, dict[str, Tensor]]:
    """The sites' former shared parts as differences from the new global one: small numbers, which few bits can hold.

    Args:
        updates: site -> what it sent; integer buffers take no part.
        shared: the new global shared part.
        number: one of :data:`flare_mri.networks.differences.NUMBERS`.
        most: how many :func:`encode_negatives` will send; 0: all. No more than these are held.
    """
    kept: dict[str, tuple[bytes, dict[str, Tensor]]] = {}
    for site in sorted(updates):
        weights = {k: v for k, v in updates[site].items() if v.is_floating_point()}
        packed = compress(subtract(weights, shared), number)
        kept[site] = _checksum(packed), packed
        if most and len(kept) > most:
            del kept[max(kept, key=lambda name: kept[name][0])]
    return {site: packed for site, (_, packed) in kept.items()}


def encode_negatives(differences: Mapping[str, Mapping[str, Tensor]], most: int = 0) -> list[dict[str, Tensor]]:
    """The differences as they travel: without names, in the order of their checksums, the first `most` of them.

    The order is a function of the contents alone. It tells nothing of the sites that the contents do not tell, is a
    new one each round, and is the same in a run that is resumed: rounding in the contrastive term stays to the bit
    what it was. A permutation drawn from the run's id and the round would be known to every site, which gets both.

    Args:
        differences: of :func:`negative_differences`, by site.
        most: how many; 0: all. As the order is new each round, so is the choice.
    """
    return [dict(part) for part in sorted(differences.values(), key=_checksum)][: most or None]


def _checksum(tensors: Mapping[str, Tensor]) -> bytes:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def decode_negatives(
    encoded: Any, shared: Mapping[str, Tensor], number: str
) -> tuple[list[dict[str, Tensor]], list[str]]:
    """Back to shared parameters; what a server may not send is left out, before anything is computed with it.

    Args:
        encoded: as :func:`encode_negatives` gave it, by way of a server that need not be ours.
        shared: the global shared part that came with it.
        number: one of :data:`flare_mri.networks.differences.NUMBERS`, which the job says.

    Returns:
        The good negatives in the order they came in, and a line for each that is left out, with its place from 0.
    """
    if not isinstance(encoded, (list, tuple)):
        return [], [f"negatives: a {type(encoded).__name__}, expected a list"]
    good, problems = [], []
    expected = {key: value for key, value in shared.items() if value.is_floating_point()}
    for place, negative in enumerate(encoded[:MAX_NEGATIVES]):
        differences, problem = expand(negative, expected, number)
        restored = add(expected, differences)
        if bad := not_finite(restored):
            problem = f"{bad}: the sum with the global one is not finite"
        if problem:
            problems.append(f"negative {place}: {problem}")
        else:
            good.append(restored)
    if len(encoded) > MAX_NEGATIVES:
        problems.append(f"negatives: {len(encoded)}, expected at most {MAX_NEGATIVES}; the others are left out")
    return good, problems
