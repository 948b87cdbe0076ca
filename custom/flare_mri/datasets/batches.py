# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Batches of samples that can stand in one: a site's raw scans may differ in size and number of coils."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import ConcatDataset, Sampler


def shapes_of(dataset: Any) -> list[Hashable]:
    """For each sample a key, equal for those of one shape.

    Args:
        dataset: with a method ``shapes``, several of them in a ``ConcatDataset``, or one whose samples are all alike.
    """
    if isinstance(dataset, ConcatDataset):
        return [shape for part in dataset.datasets for shape in shapes_of(part)]
    return list(dataset.shapes()) if hasattr(dataset, "shapes") else [None] * len(dataset)


def batches_in_order(dataset: Any, batch_size: int) -> list[list[int]]:
    """All samples in batches of one shape each, in their order within a shape."""
    groups: dict[Hashable, list[int]] = {}
    for place, shape in enumerate(shapes_of(dataset)):
        groups.setdefault(shape, []).append(place)
    return [
        places[start : start + batch_size] for places in groups.values() for start in range(0, len(places), batch_size)
    ]


class ShuffledBatches(Sampler[list[int]]):
    """Shuffled batches of one shape each; of samples of one shape alone those of PyTorch's own shuffling.

    The last, smaller batch of a shape is dropped, unless it is the only one.

    Args:
        shapes: of :func:`shapes_of`.
        batch_size: samples in a batch.
        generator: of the order.
    """

    def __init__(self, shapes: Sequence[Hashable], batch_size: int, generator: torch.Generator):
        self._shapes, self._batch_size, self._generator = shapes, batch_size, generator

    def __iter__(self) -> Iterator[list[int]]:
        waiting: dict[Hashable, list[int]] = {}
        served = set()
        for place in torch.randperm(len(self._shapes), generator=self._generator).tolist():
            shape = self._shapes[place]
            batch = waiting.setdefault(shape, [])
            batch.append(place)
            if len(batch) == self._batch_size:
                served.add(shape)
                yield waiting.pop(shape)
        yield from (batch for shape, batch in waiting.items() if shape not in served)

    def __len__(self) -> int:
        counts = [self._shapes.count(shape) for shape in set(self._shapes)]
        return sum(max(count // self._batch_size, 1) for count in counts)
