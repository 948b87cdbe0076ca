# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Images and k-space: crop and undersampling.

Zero frequency of a centred k-space [..., H, W] is at [H // 2, W // 2].
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, InvertibleTransform, MapTransform
from torch import Tensor

from flare_mri.physics.classical import root_sum_of_squares
from flare_mri.physics.fourier import fft2c, ifft2c

_EPSILON = 1e-11  # keeps a slice of nothing but air finite


def crop_kspace(images: np.ndarray, matrix: tuple[int, int]) -> np.ndarray:
    """Changes the resolution of magnitude images as a scanner would: by a smaller or larger k-space matrix.

    k-space is cut about zero frequency where `matrix` is smaller, zero-padded where it is larger; intensities keep
    their scale.

    Args:
        images: float [S, H, W], magnitudes.
        matrix: (h, w) wanted.

    Returns:
        float32 [S, h, w], magnitudes.
    """
    height, width = images.shape[1:]
    result = np.empty((len(images), *matrix), np.float32)
    taken, placed = zip(*(_common_range(*sizes) for sizes in zip((height, width), matrix, strict=True)), strict=True)
    scale = float(np.sqrt(matrix[0] * matrix[1] / (height * width)))
    for index, image in enumerate(images):
        kspace = torch.zeros(matrix, dtype=torch.complex64)
        kspace[placed] = fft2c(torch.as_tensor(image, dtype=torch.float32))[taken]
        result[index] = scale * ifft2c(kspace).abs().numpy()
    return result


def _common_range(old: int, new: int) -> tuple[slice, slice]:
    """Slices into two centred axes of lengths `old` and `new` that cover the same frequencies."""
    before = min(old // 2, new // 2)
    after = min(old - old // 2, new - new // 2)
    return slice(old // 2 - before, old // 2 + after), slice(new // 2 - before, new // 2 + after)


def undersample(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Simulates an undersampled scan.

    Args:
        image: [..., H, W], magnitude.
        mask: bool or 0/1 [H, W], centred.

    Returns:
        The zero-filled magnitude |F^-1(M F x)|, float [..., H, W], and the sampled k-space M F x, complex [..., H, W].
    """
    kspace = fft2c(image) * mask
    return ifft2c(kspace).abs(), kspace


class CropKspaced(MapTransform, InvertibleTransform):
    """Brings magnitude volumes to another resolution as a scanner would; undone by the k-space matrix of before.

    The field of view stays; the affine follows, with the voxel of the middle, [H // 2, W // 2], where it was.

    Args:
        keys: volumes [1, I, J, K], magnitudes.
        spatial_size: (h, w) wanted.
        slice_axis: axis of the slices, without the channel.
    """

    def __init__(self, keys: Any, spatial_size: tuple[int, int], slice_axis: int):
        MapTransform.__init__(self, keys)
        self.spatial_size, self.slice_axis = spatial_size, slice_axis

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop or zero-pad k-space."""
        item = dict(data)
        for key in self.key_iterator(item):
            before = self._plane(item[key])
            item[key] = self._change(item[key], self.spatial_size)
            self.push_transform(item[key], extra_info={"plane": before}, orig_size=item[key].shape[1:])
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Back to the size of before."""
        item = dict(data)
        for key in self.key_iterator(item):
            done = self.pop_transform(item[key])
            item[key] = self._change(item[key], tuple(done["extra_info"]["plane"]))
        return item

    def _plane(self, volume: Tensor) -> list[int]:
        return [size for axis, size in enumerate(volume.shape[1:]) if axis != self.slice_axis]

    def _change(self, volume: MetaTensor, size: tuple[int, ...]) -> MetaTensor:
        old = self._plane(volume)
        if old == list(size):
            return volume
        slices = volume.as_tensor()[0].movedim(self.slice_axis, 0).numpy()
        cropped = torch.from_numpy(crop_kspace(slices, (size[0], size[1]))).movedim(0, self.slice_axis)[None]
        affine = volume.affine.clone()
        planes = [axis for axis in range(3) if axis != self.slice_axis]
        for axis, before, now in zip(planes, old, size, strict=True):
            step = volume.affine[:, axis] * (before / now)
            affine[:, 3] += volume.affine[:, axis] * (before // 2) - step * (now // 2)
            affine[:, axis] = step
        result = MetaTensor(cropped.contiguous(), meta=volume.meta, applied_operations=volume.applied_operations)
        result.affine = affine
        return result


class Undersampled(MapTransform):
    """Undersamples a scan: the k-space that was measured, ``full``, where there is one, else that of the target.

    Args:
        keys: fully sampled magnitude [1, H, W].
        mask: bool [H, W], centred.

    Gives ``kspace``, complex64 [C, H, W], 0 where it is not sampled; ``mask``, bool [1, H, W]; ``image``, float32
    [1, H, W], the zero-filled magnitude, root of the sum of squares over the coils; ``sensitivities`` of ones where
    k-space is simulated, of one coil.
    """

    def __init__(self, keys: Any, mask: np.ndarray):
        super().__init__(keys)
        self.mask = torch.from_numpy(np.asarray(mask, bool))[None]
        self._factor = self.mask.float()
        self._sensitivities = torch.ones(self.mask.shape, dtype=torch.complex64)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the undersampled scan."""
        item = dict(data)
        item["mask"] = self.mask
        if "full" in item:
            item["kspace"] = item.pop("full") * self._factor
            item["image"] = root_sum_of_squares(item["kspace"][None])[0]
            return item
        for key in self.key_iterator(item):
            item["image"], item["kspace"] = undersample(item[key], self._factor)
            item["sensitivities"] = self._sensitivities
        return item


class NormalizeByImaged(MapTransform):
    """Divides by the network input's own standard deviation, after its mean is taken off images.

    Gives ``scale`` and ``offset``, with which ``x * scale + offset`` is in the scanner's units. The mean stays in
    k-space, since it can only be taken off a magnitude.

    Args:
        keys: images to normalise, ``image`` among them.
        kspace: key of the k-space to divide.
        allow_missing_keys: whether a sample may lack some of them.
    """

    def __init__(self, keys: Any, kspace: str = "kspace", allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        self.kspace = kspace

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise by the mean and the standard deviation of ``image``."""
        item = dict(data)
        mean, std = item["image"].mean(), item["image"].std() + _EPSILON
        for key in self.key_iterator(item):
            item[key] = (item[key] - mean) / std
        if self.kspace in item:
            item[self.kspace] = item[self.kspace] / std
        return {**item, "offset": mean, "scale": std}


def build_undersampling(mask: np.ndarray) -> Compose:
    """From a fully sampled slice to a sample, or from a measured one that is not: its `target` may be missing.

    Args:
        mask: bool [H, W], centred.
    """
    return Compose([Undersampled("target", mask), NormalizeByImaged(("image", "target"), allow_missing_keys=True)])
