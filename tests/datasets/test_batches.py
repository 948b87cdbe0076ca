# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Batches of one shape: every sample once, PyTorch's own order where all are alike."""

import torch
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

from flare_mri.datasets.batches import ShuffledBatches, batches_in_order, shapes_of


class Shaped(TensorDataset):
    def __init__(self, *shapes: str):
        super().__init__(torch.arange(len(shapes)))
        self._shapes = list(shapes)

    def shapes(self) -> list[str]:
        return self._shapes


def test_of_one_shape_they_are_those_of_pytorch() -> None:
    data = TensorDataset(torch.arange(11))
    for seed, size in ((0, 4), (1, 3), (2, 20)):
        one, other = (torch.Generator().manual_seed(seed) for _ in range(2))
        usual = DataLoader(data, size, shuffle=True, drop_last=size <= 11, generator=one)
        ours = DataLoader(data, batch_sampler=ShuffledBatches(shapes_of(data), size, other), generator=other)
        pairs = list(zip(usual, ours, strict=True))
        assert pairs and all(torch.equal(a[0], b[0]) for a, b in pairs) and len(ours) == len(usual)


def test_a_batch_holds_one_shape() -> None:
    data = ConcatDataset([Shaped(*"aabab"), Shaped(*"cbaa")])
    shapes = shapes_of(data)
    assert shapes == list("aababcbaa")
    assert batches_in_order(data, 2) == [[0, 1], [3, 7], [8], [2, 4], [6], [5]]
    batches = ShuffledBatches(shapes, 2, torch.Generator().manual_seed(0))
    for _ in range(5):
        found = list(batches)
        assert len(found) == len(batches) and all(len({shapes[place] for place in batch}) == 1 for batch in found)
        places = [place for batch in found for place in batch]
        assert len(places) == len(set(places)) == 4 + 2 + 1  # one a and one b are left over, c is the only one
