# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of images and labels as transforms of a pipeline: a bad file is refused in one line that names it."""

from collections.abc import Hashable, Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from flare_mri.config.data import SliceRange
from flare_mri.config.segmentation import IGNORED
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
    """Labels on the image's very grid, from values of a file to numbers of organs.

    Args:
        keys: labels [I, J, K].
        image: key of the image.
        organs: values of each organ, whose numbers 1, 2, ... follow this order; None: all above 0 are one organ.
        ignored: a value that becomes :data:`~flare_mri.config.segmentation.IGNORED`; None: there is none.
        white: a value that stands for 1 where it is the largest; None: there is none.

    Raises:
        InputError: another shape or place, or values that are no labels or of no organ.
    """

    def __init__(
        self,
        keys: Any,
        image: str,
        organs: Mapping[str, tuple[int, ...]] | None,
        ignored: int | None = None,
        white: int | None = None,
    ):
        super().__init__(keys)
        self.image, self.organs, self.ignored, self.white = image, organs, ignored, white

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Check the labels and number them."""
        item = dict(data)
        for key in self.key_iterator(item):
            label, image = item[key], item[self.image]
            where = f"{image.meta['origin']}: its label"
            if label.shape != image.shape:
                raise InputError(
                    f"{where}: expected the image's shape {list(image.shape)}, got {list(label.shape)}; "
                    "give the label of this very image"
                )
            _check_grid(label, image, where)
            values = label.as_tensor().unique().numpy()
            numbers = self._number(values, where)
            numbered = torch.zeros_like(label)
            for value in values[[numbers[value] > 0 for value in values.tolist()]].tolist():
                numbered[label == value] = numbers[value]
            item[key] = numbered.float()
        return item

    def _number(self, values: np.ndarray, where: str) -> dict[float, int]:
        """Of each value in a file the number of its organ.

        Raises:
            InputError: a value without one.
        """
        known = {0: 0} if self.ignored is None else {0: 0, self.ignored: IGNORED}
        whole = bool(np.isfinite(values).all()) and not np.mod(values, 1).any() and values.min() >= 0
        if self.organs is None:
            if whole and len(values) <= _MOST_LABELS:
                return dict.fromkeys(values.tolist(), 1) | known
            expected, fix = "whole numbers >= 0 (above 0 is the organ)", "give the label"
        else:
            organs = {value: at + 1 for at, of_one in enumerate(self.organs.values()) for value in of_one}
            if self.white is not None and len(self.organs) == 1 and values.max() == self.white:
                organs = {self.white: 1}
            known |= organs
            if whole and set(values.tolist()) <= known.keys():
                return known  # type: ignore[return-value]
            told = [f"{value}" for value in sorted(known)] + ([str(self.white)] if self.white is not None else [])
            expected = f"{', '.join(told[:-1])} {'or' if self.white is not None else 'and'} {told[-1]}"
            fix = "give the label, or name its organs in data.labels (or all as one by merge_labels or format prostate)"
        got = f"{', '.join(f'{value:g}' for value in values[:8])}{', ...' if len(values) > 8 else ''}"
        raise InputError(f"{where}: expected {expected}, got {len(values)} values ({got}); {fix}")


def _check_grid(label: MetaTensor, image: MetaTensor, where: str) -> None:
    """See that a label's voxels lie where the image's do, as far as both say where that is."""
    if not (label.meta["affine_known"] and image.meta["affine_known"]):
        return
    corners = torch.tensor(list(product(*((0, size - 1) for size in image.shape))), dtype=torch.float64)
    corners = torch.cat([corners, torch.ones(len(corners), 1)], 1)
    apart = float((corners @ (label.affine - image.affine).double().T)[:, :3].norm(dim=1).max())
    voxel = float(image.affine[:3, :3].double().norm(dim=0).min())
    if apart > voxel / 2:
        raise InputError(
            f"{where}: expected its voxels where the image's are, got corners up to {apart:.1f} mm away; resample the "
            "label to the image, or correct the header that is wrong"
        )


def _refuse_not_finite(slices: Tensor, where: str, counted: str) -> None:
    """Slices along the first axis."""
    bad = ~torch.isfinite(slices)
    if bool(bad.any()):
        first = int(bad.flatten(1).any(1).int().argmax())
        raise InputError(
            f"{where}: expected finite values, got {int(bad.sum())} NaN or infinite (first in slice {first} of "
            f"{counted}); export the volume again or leave it out"
        )
