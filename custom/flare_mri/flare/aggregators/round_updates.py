# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The updates of a round as they count: on the server's disk, scaled down where they were too large."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from flare_mri.flare.aggregators.update_file import UpdateFile

FURTHER = ", further tensors,"
"""Behind a site's name: the part of its update that a method shares beside the weights."""
_PIECE = 2**22  # numbers of all updates that are held while they are averaged: 16 MB in float32

State = dict[str, Tensor]


class RoundUpdates:
    """Keeps a round's checked updates, and gives them back whole or in pieces.

    Args:
        reference: the global shared part.
        extra: further tensors that each site sends, of which only names, shapes and types count.
        factors: by what the difference of a site's weights from `reference` is multiplied, or behind
            :data:`FURTHER` that of its further tensors; looked up whenever an update is read.
        folder: on a disk.
        sites: how many updates are expected.

    Raises:
        InputError: `folder` has no space for them.

    Attributes:
        whole: reference and further tensors, which come as differences from 0.
    """

    def __init__(
        self,
        reference: Mapping[str, Tensor],
        extra: Mapping[str, Tensor],
        factors: Mapping[str, float],
        folder: Path,
        sites: int = 0,
    ):
        self.reference = reference
        self.extra = {key: torch.zeros_like(value) for key, value in extra.items()}
        self.whole: State = {**reference, **self.extra}
        self._factors = factors
        self._file = UpdateFile(self.whole, folder, sites)

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def put(self, site: str, update: Mapping[str, Tensor]) -> None:
        """Put a site's update away; raises InputError where the disk does not take it."""
        self._file.put(site, update)

    def read(self, site: str, key: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Elements `start` to `stop` of a tensor of a site's update, as one row; all of them in its shape.

        Raises:
            InputError: the disk does not give it.
        """
        value = self._file.read(site, key, start, stop)
        factor = self._factors.get(site + (FURTHER if key in self.extra else ""))
        if factor is None or not value.is_floating_point():
            return value
        reference = self.whole[key]
        return torch.lerp(reference if stop is None else reference.reshape(-1)[start:stop], value, factor)

    def pieces(self, sites: Sequence[str], key: str) -> Iterator[list[Tensor]]:
        """A tensor of all these sites' updates, a few of its numbers at a time."""
        count, step = self.whole[key].numel(), max(_PIECE // len(sites), 1)
        for start in range(0, max(count, 1), step):
            yield [self.read(site, key, start, min(start + step, count)) for site in sites]

    def shared_of(self, sites: Collection[str]) -> Mapping[str, State]:
        """The shared parts of these sites, until the file is closed."""
        return _SharedParts(self, sites)


class _SharedParts(Mapping[str, State]):
    """Shared parts by site; each is read when it is asked for, and none is kept."""

    def __init__(self, updates: RoundUpdates, sites: Collection[str]):
        self._updates, self._sites = updates, sorted(sites)

    def __getitem__(self, site: str) -> State:
        if site not in self._sites:
            raise KeyError(site)
        return {key: self._updates.read(site, key) for key in self._updates.reference}

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)
