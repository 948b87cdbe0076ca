# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of images and labels as transforms of a pipeline: a bad file is refused in one line that names it."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from flare_mri.config.data import SliceRange
from flare_mri.errors import InputError

_UNDERSHOOT = 0.01  # interpolation may leave values this far below 0, in parts of the maximum
_MOST_LABELS = 16  # more different values are those of an image


class CheckMagnitudesd(MapTransform):
    """Magnitudes of the slices to be used: finite, not negative, not all 0; small undershoots become 0.

    Args:
        keys: volumes [1, I, J, K].
        slice_axis: axis of the slices, without the channel.
        slices: those to look at.

    Raises:
        InputError: NaN, infinite or negative values, no slice, or nothing but zeros.
    """

    def __init__(self, keys: Any, slice_axis: int, slices: SliceRange):
        super().__init__(keys)
        self.slice_axis, self.slices = slice_axis, slices

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check the volumes."""
        item = dict(data)
        for key in self.key_iterator(item):
            volume: MetaTensor = item[key]
            values, where = volume.as_tensor(), volume.meta["origin"]
            taken = torch.tensor(list(self.slices.indices(values.shape[self.slice_axis + 1])), dtype=torch.int64)
            if not values.numel() or not len(taken):
                raise InputError(
                    f"{where}: expected slices [S, H, W], got none of shape {list(values.shape[1:])}; correct "
                    "data.slices or the file"
                )
            chosen = values.index_select(self.slice_axis + 1, taken).movedim(self.slice_axis + 1, 0)
            _refuse_not_finite(chosen, where, "those taken")
            low, high = float(chosen.min()), float(chosen.max())
            if high <= 0:
                raise InputError(
                    f"{where}: expected an image, got no value above 0; correct data.slices or leave it out"
                )
            if low < -_UNDERSHOOT * high:
                raise InputError(f"{where}: expected magnitudes >= 0, got {low:g}; give images that are not normalised")
            item[key] = volume.clamp(min=0) if low < 0 else volume
        return item


class CheckImaged(MapTransform):
    """Images to segment: finite, with some contrast.

    Raises:
        InputError: NaN or infinite values, or one value everywhere.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check the volumes [I, J, K]."""
        for key in self.key_iterator(dict(data)):
            volume = data[key]
            values, where = volume.as_tensor(), volume.meta["origin"]
            _refuse_not_finite(values.movedim(-1, 0), where, "the last axis")
            if float(values.min()) == float(values.max()):
                got = float(values.flatten()[0])
                raise InputError(f"{where}: expected an image, got {got:g} everywhere; leave the case out")
        return dict(data)


class CheckLabeld(MapTransform):
    """Labels of the image's very shape, made 0 and 1.

    Args:
        keys: labels [I, J, K].
        image: key of the image.
        merge: any whole number above 0 is the organ; otherwise 0 and 1 alone are admitted.
        white: a value that stands for 1 where it is the largest; None: there is none.

    Raises:
        InputError: another shape, or values that are no labels.
    """

    def __init__(self, keys: Any, image: str, merge: bool, white: int | None = None):
        super().__init__(keys)
        self.image, self.merge, self.white = image, merge, white

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check the labels and make them 0 and 1."""
        item = dict(data)
        for key in self.key_iterator(item):
            label, image = item[key], item[self.image]
            where = f"{image.meta['origin']}: its label"
            if label.shape != image.shape:
                raise InputError(
                    f"{where}: expected the image's shape {list(image.shape)}, got {list(label.shape)}; "
                    "give the label of this very image"
                )
            self._check_values(label.as_tensor().unique().numpy(), where)
            item[key] = (label > 0).float()
        return item

    def _check_values(self, values: np.ndarray, where: str) -> None:
        whole = bool(np.isfinite(values).all()) and not np.mod(values, 1).any() and values.min() >= 0
        if self.merge:
            good, expected = whole and len(values) <= _MOST_LABELS, "whole numbers >= 0 (above 0 is the organ)"
        else:
            one = self.white if self.white is not None and values.max() == self.white else 1
            good = whole and set(values.tolist()) <= {0, one}
            expected = "0 and 1" + (f" or {self.white}" if self.white is not None else "")
        if not good:
            got = f"{', '.join(f'{value:g}' for value in values[:8])}{', ...' if len(values) > 8 else ''}"
            fix = "give the label" if self.merge else "give the label, or set data.merge_labels: true"
            raise InputError(f"{where}: expected {expected}, got {len(values)} values ({got}); {fix}")


def _refuse_not_finite(slices: Tensor, where: str, counted: str) -> None:
    """Slices along the first axis."""
    bad = ~torch.isfinite(slices)
    if bool(bad.any()):
        first = int(bad.flatten(1).any(1).int().argmax())
        raise InputError(
            f"{where}: expected finite values, got {int(bad.sum())} NaN or infinite (first in slice {first} of "
            f"{counted}); export the volume again or leave it out"
        )
