# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Labels on their way to a network's size: none is lost, by a border cut off or by scaling down."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop, MapTransform

from flare_mri.config.segmentation import IGNORED
from flare_mri.errors import InputError


class KeepLabeld(MapTransform):
    """Refuses to cut off labelled voxels, before a transform that crops about the centre.

    Args:
        keys: labels [1, I, J, K].
        size: what is left of each axis; -1: all.
        slice_axis: axis of the slices, without the channel.

    Raises:
        InputError: the border to cut off holds label.
    """

    def __init__(self, keys: Any, size: Sequence[int], slice_axis: int):
        super().__init__(keys)
        self.size, self.slice_axis = list(size), slice_axis

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Compare what is there with what would be left."""
        for key in self.key_iterator(dict(data)):
            label = data[key].as_tensor() % IGNORED
            size = [min(new, old) if new > 0 else old for new, old in zip(self.size, label.shape[1:], strict=True)]
            lost = int(label.count_nonzero()) - int(CenterSpatialCrop(size)(label).count_nonzero())
            if lost:
                inner, whole = list(self.size), list(label.shape[1:])
                del inner[self.slice_axis], whole[self.slice_axis]
                raise InputError(
                    f"{data[key].meta['origin']}: expected the label within the central {inner} of {whole}, got {lost} "
                    "labelled pixels outside; enlarge data.spatial_size or set data.fit: resize"
                )
        return dict(data)


class LabelToCoverd(MapTransform):
    """A channel for each number of a label, 1 where it stands: what can be scaled down without mixing numbers.

    Args:
        keys: labels [1, I, J, K].
        numbers: the numbers that may stand in them, above 0.
    """

    def __init__(self, keys: Any, numbers: Sequence[int]):
        super().__init__(keys)
        self.numbers = list(numbers)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Make covers [numbers, I, J, K]."""
        item = dict(data)
        for key in self.key_iterator(item):
            label = item[key]
            covers = torch.cat([label.as_tensor() == number for number in self.numbers]).float()
            item[key] = MetaTensor(covers, meta=label.meta, applied_operations=label.applied_operations)
        return item


class CoverToLabeld(MapTransform):
    """Labels from how much of each scaled pixel every organ covers.

    A pixel is an organ's that covers half of it; a slice in which an organ is too small for that keeps the pixel that
    it covers most. Where two would have a pixel it is that one's which covers more.

    Args:
        keys: covers in [0, 1], [numbers, I, J, K].
        numbers: of the channels.
        slice_axis: axis of the slices, without the channel.
    """

    def __init__(self, keys: Any, numbers: Sequence[int], slice_axis: int):
        super().__init__(keys)
        self.numbers, self.slice_axis = list(numbers), slice_axis

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Make labels [1, I, J, K]."""
        item = dict(data)
        for key in self.key_iterator(item):
            scaled = item[key]
            cover = scaled.as_tensor()
            others = [axis for axis in range(1, cover.ndim) if axis != self.slice_axis + 1]
            most = cover.amax(dim=others, keepdim=True)
            has = (cover >= most.clamp(max=0.5)) & (most > 1e-6)
            first = (cover * has).argmax(0, keepdim=True)
            label = torch.tensor(self.numbers, dtype=cover.dtype)[first] * has.any(0, keepdim=True)
            item[key] = MetaTensor(label, meta=scaled.meta, applied_operations=scaled.applied_operations)
        return item
