# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Volumes in the pieces that a segmentation network takes, and its predictions put together again."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.errors import InputError
from flare_mri.transforms.neighbours import stack_neighbours

OVERLAP = 0.5
"""Of neighbouring windows of a 3D network along each axis."""


class Pieces(Sequence[Tensor]):
    """Volumes as a network takes them, read when asked for, without labels.

    In 2.5D a piece is a slice between its neighbours, [3, H, W]; in 3D a patch [1, D, H, W] of ``plan.patch_size``, and
    the pieces are the fewest patches that cover every volume.

    Args:
        volumes: each gives slices [C, H, W] by index and by range, the z-scored image first.
        plan: of the network.
    """

    def __init__(self, volumes: Sequence[Any], plan: SegmentationPlan):
        self.volumes, self.plan = list(volumes), plan
        self._places: list[tuple[int, Any]] = [
            (number, place) for number, volume in enumerate(self.volumes) for place in self._divide(volume)
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[index] for index in range(len(self))[place]]
        number, where = self._places[place]
        volume = self.volumes[number]
        if self.plan.patch_size is None:
            return torch.from_numpy(stack_neighbours(volume, where, len(volume))[0])
        slices, rows, columns = (
            slice(start, start + size) for start, size in zip(where, self.plan.patch_size, strict=True)
        )
        return pad_to(torch.from_numpy(volume[slices][:, 0, rows, columns])[None], self.plan.patch_size)

    def logits(self, network: nn.Module, batch_size: int) -> Iterator[tuple[range, Tensor]]:
        """Places of slices and their logits [B, classes, H, W], by the network in evaluation mode.

        Args:
            network: on its device.
            batch_size: the most pieces in a batch.

        Raises:
            InputError: the network does not give the plan's classes for each voxel.
        """
        if self.plan.patch_size is None:
            for places, images, output in run_batches(network, self, batch_size):
                yield places, check_logits(output, images, self.plan)
            return
        network.eval()
        device, start = next(network.parameters()).device, 0
        inferer = SlidingWindowInferer(self.plan.patch_size, batch_size, OVERLAP, mode="gaussian")
        for volume in self.volumes:
            image = torch.from_numpy(volume[:][:, 0])[None, None].to(device)
            with torch.no_grad():
                logits = inferer(image, lambda patch: check_logits(network(patch), patch, self.plan))
            yield range(start, start + len(volume)), logits[0].movedim(1, 0)
            start += len(volume)

    def probabilities(self, network: nn.Module, batch_size: int) -> Tensor:
        """Class probabilities [N, classes, H, W] of all slices, on the CPU."""
        return in_order((places, logits.softmax(1).cpu()) for places, logits in self.logits(network, batch_size))

    def classes(self, network: nn.Module, batch_size: int) -> np.ndarray:
        """The likeliest class of every pixel of all slices, uint8 [N, H, W]."""
        found = self.logits(network, batch_size)
        return in_order((places, logits.argmax(1).to(torch.uint8).cpu()) for places, logits in found).numpy()

    def _divide(self, volume: Any) -> Sequence[Any]:
        if self.plan.patch_size is None:
            return range(len(volume))
        sizes = (len(volume), *volume.shape[-2:])
        return list(product(*map(_starts, sizes, self.plan.patch_size)))


def _starts(size: int, patch: int) -> list[int]:
    """Where the fewest patches begin that cover an axis, evenly."""
    count = math.ceil(size / patch)
    return [0] if count == 1 else [round(at * (size - patch) / (count - 1)) for at in range(count)]


def pad_to(image: Tensor, size: Sequence[int], value: float = 0.0) -> Tensor:
    """An image [C, D, H, W] with a value behind it up to a size; 0 is what a z-scored volume is on average."""
    missing = [max(want - has, 0) for want, has in zip(size, image.shape[1:], strict=True)]
    return torch.nn.functional.pad(image, [n for lack in reversed(missing) for n in (0, lack)], value=value)


def batches_of(pieces: Sequence[Tensor] | Tensor, batch_size: int) -> Iterator[tuple[range, Tensor]]:
    """All pieces, in the fewest batches that differ by one piece at the most, with their places.

    Where the statistics of a batch are part of the network, a batch has to be like the whole: it takes pieces at equal
    steps, so that none holds the empty ends of volumes alone, and none is a rest of one.

    Raises:
        InputError: as :func:`check_pieces`.
    """
    check_pieces(pieces, batch_size)
    number = math.ceil(len(pieces) / batch_size)
    for first in range(number):
        places = range(first, len(pieces), number)
        yield places, torch.stack([pieces[place] for place in places])


def check_pieces(pieces: Sequence[Tensor] | Tensor, batch_size: int) -> None:
    """See that there are pieces, and that a batch of them has statistics.

    Raises:
        InputError: there are none, or ``batch_size`` is below 2.
    """
    if len(pieces) == 0:
        raise InputError("site: expected slices or patches, got none; check the data folder and its settings")
    if batch_size < 2:
        raise InputError(f"batch_size: expected at least 2 for the statistics of a batch, got {batch_size}; raise it")


@torch.no_grad()
def run_batches(
    network: nn.Module, pieces: Sequence[Tensor] | Tensor, batch_size: int
) -> Iterator[tuple[range, Tensor, Any]]:
    """Places of a batch of pieces, the batch [B, C, (D,) H, W] and what the network makes of it in evaluation mode.

    Raises:
        InputError: as :func:`check_pieces`.
    """
    network.eval()
    device = next(network.parameters()).device
    for places, batch in batches_of(pieces, batch_size):
        images = batch.to(device)
        yield places, images, network(images)


def in_order(parts: Iterable[tuple[range, Tensor]]) -> Tensor:
    """What was found for the pieces at some places, each part [B, ...], as one tensor [N, ...] in their order."""
    found = list(parts)
    first = found[0][1]
    whole = first.new_empty(sum(map(len, (places for places, _ in found))), *first.shape[1:])
    for places, part in found:
        whole[list(places)] = part
    return whole


def check_logits(logits: Any, images: Tensor, plan: SegmentationPlan) -> Tensor:
    """Logits, once they are such: [B, classes, *the images' size].

    Raises:
        InputError: the network gives something else.
    """
    expected = (len(images), plan.classes, *images.shape[2:])
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        got = list(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise InputError(
            f"network: expected logits {list(expected)} (background and {', '.join(plan.organs)}), got {got}; set its "
            f"out_channels to {plan.classes}, give it in_channels {images.shape[1]} and spatial_dims {images.ndim - 2}"
        )
    return logits
