# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Labels on their way to a network's size: none is lost, by a border cut off or by scaling down."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.transforms import CenterSpatialCrop, MapTransform

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
            label = data[key].as_tensor()
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


class CoverToLabeld(MapTransform):
    """Labels from how much of each scaled pixel they cover.

    A pixel is labelled where the label covers half of it; a slice whose label is too small for that keeps its most
    covered pixel.

    Args:
        keys: covers in [0, 1], [1, I, J, K].
        slice_axis: axis of the slices, without the channel.
    """

    def __init__(self, keys: Any, slice_axis: int):
        super().__init__(keys)
        self.slice_axis = slice_axis

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Make labels of 0 and 1."""
        item = dict(data)
        for key in self.key_iterator(item):
            cover = item[key]
            others = [axis for axis in range(cover.ndim) if axis != self.slice_axis + 1]
            most = cover.as_tensor().amax(dim=others, keepdim=True)
            item[key] = ((cover >= most.clamp(max=0.5)) & (most > 1e-6)).float()
        return item
