# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Division of a site's slices into training, validation and test."""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flare_mri.config.site import SplitSettings
from flare_mri.errors import InputError


class SplitIndices(NamedTuple):
    """Three lists of (volume, slice)."""

    train: list[tuple[int, int]]
    validation: list[tuple[int, int]]
    test: list[tuple[int, int]]


def split_slices(counts: Sequence[int], subjects: Sequence[str], settings: SplitSettings, seed: int) -> SplitIndices:
    """Divides the slices of a site.

    By slice, every volume gives its first slices to training, the next to validation, the last to test. By volume,
    subjects in an order drawn with `seed` are divided, each with all its volumes. Numbers are rounded to the nearest.

    Args:
        counts: number of slices of each volume.
        subjects: subject of each volume.
        settings: fractions and kind.
        seed: order of the subjects; slices are never shuffled here.

    Returns:
        Disjoint lists that together hold every slice once; validation is empty where its fraction is 0.

    Raises:
        InputError: a part with a fraction above 0 would be empty.
    """
    split = SplitIndices([], [], [])
    if settings.by == "slice":
        for volume, count in enumerate(counts):
            _deal([[(volume, index)] for index in range(count)], settings, split)
    else:
        names = sorted(set(subjects))
        order = np.random.default_rng(seed).permutation(len(names))
        _deal([_of_subject(names[place], counts, subjects) for place in order], settings, split)
    for name, part in zip(SplitIndices._fields, split, strict=True):
        if not part and getattr(settings, name) > 0:
            raise InputError(
                f"split.{name}: expected at least one slice, got none of {sum(counts)} in {len(counts)} volumes of "
                f"{len(set(subjects))} subjects by {settings.by}; change the fractions or split.by, or add data"
            )
        part.sort()
    return split


def seed_of_sample(seed: int, place: int) -> int:
    """The seed of one sample's random transforms in an epoch of this seed, the same in every process."""
    return int.from_bytes(hashlib.sha256(f"{seed} {place}".encode()).digest()[:4], "big")


def fingerprint(volumes: Sequence[Sequence[object]], parts: Sequence[Sequence[tuple[int, int]]]) -> str:
    """Digest of data and their division, different for any other.

    Args:
        volumes: of each volume its name, its subject and digests of its content, as JSON takes them.
        parts: (volume, slice) of all slices for training, for validation and for testing.

    Returns:
        Hex SHA-256.
    """
    return hashlib.sha256(json.dumps([volumes, parts]).encode()).hexdigest()


def _of_subject(name: str, counts: Sequence[int], subjects: Sequence[str]) -> list[tuple[int, int]]:
    volumes = [volume for volume, subject in enumerate(subjects) if subject == name]
    return [(volume, index) for volume in volumes for index in range(counts[volume])]


def _deal(units: list[list[tuple[int, int]]], settings: SplitSettings, split: SplitIndices) -> None:
    """Adds the first units to training, the next to validation, the rest to test."""
    to_train = round(settings.train * len(units))
    to_validation = round((settings.train + settings.validation) * len(units))
    for place, unit in enumerate(units):
        split[(place >= to_train) + (place >= to_validation)].extend(unit)
