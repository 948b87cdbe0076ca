# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Slices of scans, undersampled and normalised, as networks that reconstruct them learn from."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor
from torch.utils.data import Dataset

from flare_mri.config.mask import MaskSettings
from flare_mri.datasets.split import seed_of_sample
from flare_mri.io.formats import RECONSTRUCTION
from flare_mri.transforms.augmentation import Augmentation, RawAugmentation
from flare_mri.transforms.kspace import build_undersampling
from flare_mri.transforms.masks import make_mask

SAMPLE_KEYS = ("image", "kspace", "mask", "sensitivities")
"""Entries of a sample that a network may be called with: those known of a scan that was undersampled."""


class Slices(Protocol):
    """A volume as a data set needs it: an array [S, H, W] or anything that gives slices [H, W] as one does."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, index: int, /) -> Any: ...


class KspaceSlices(Protocol):
    """Slices of multi-coil k-space: `item(index)` gives `full` and `sensitivities`, complex64 [C, H, W].

    Of scans that were measured undersampled it also gives `mask`, bool [1, H, W], what was measured.
    """

    @property
    def coils(self) -> int: ...

    def item(self, index: int) -> dict[str, Tensor]: ...


class ReconstructionDataset(Dataset[dict[str, Any]]):
    """Slices of volumes, undersampled with one fixed mask for each size.

    A sample holds `image`, the zero-filled magnitude normalised by its own mean and standard deviation, and `target`,
    the fully sampled magnitude normalised by *the image's* (both float32 [1, H, W]); `scale` and `offset` (float32, no
    dimensions), with which `x * scale + offset` undoes it; `volume` and `slice` (int); and `max` (float32), the largest
    target of the volume among these slices, in the scanner's units, which metrics take as data range. Where asked for,
    also `kspace` complex64 [C, H, W], the sampled centred orthonormal k-space divided by `scale` (so its images are
    magnitudes / `scale`, with the mean still in), `mask` bool [1, H, W], and `sensitivities` complex64 [C, H, W] of the
    coils. K-space simulated from magnitudes has one coil, of sensitivity 1. A scan that was measured undersampled is
    taken with its own mask, and its samples have neither `target` nor `max`.

    Args:
        volumes: each [S, H, W], float32 magnitudes.
        masks: (H, W) -> bool [H, W], centred, for every size that a volume has.
        indices: (volume, slice) of each item.
        keys: those of :data:`SAMPLE_KEYS` that the network is called with.
        highest: volume -> its `max`; None: samples have none, as in training.
        raw: the same volumes' multi-coil k-space; None: k-space of one coil is simulated from the magnitudes.
    """

    def __init__(
        self,
        volumes: Sequence[Slices],
        masks: Mapping[tuple[int, int], np.ndarray],
        indices: Sequence[tuple[int, int]],
        keys: Sequence[str] = ("image",),
        highest: Mapping[int, float] | None = None,
        raw: Sequence[KspaceSlices] | None = None,
    ):
        self.raw = raw
        self.volumes, self.indices, self.keys, self.highest = volumes, list(indices), tuple(keys), highest
        self.samples = {shape: build_undersampling(mask) for shape, mask in masks.items()}
        self._augmentation: Augmentation | RawAugmentation | None = None
        self._drawn: MaskSettings | None = None
        self._seed = 0

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> dict[str, Any]:
        volume, index = self.indices[place]
        item: Any = {} if self.raw is None else self.raw[volume].item(index)
        if "mask" not in item:
            item["target"] = torch.from_numpy(np.asarray(self.volumes[volume][index], np.float32))[None]
        if self._augmentation is not None:
            item = self._augmentation(item, seed_of_sample(self._seed, place))
        made = self._pipeline(item, place)(item)
        sample = {key: made[key] for key in {"image", "scale", "offset", *self.keys, *({"target"} & made.keys())}}
        sample |= {"volume": volume, "slice": index}
        if self.highest is not None and "target" in made:
            sample["max"] = torch.tensor(self.highest[volume], dtype=torch.float32)
        return sample

    def _pipeline(self, item: dict[str, Tensor], place: int) -> Compose:
        """From a slice to a sample, with the mask of all slices of its size or one of its own."""
        if "mask" in item:
            return build_undersampling(item["mask"][0].numpy())
        shape = (item["target"].shape[-2], item["target"].shape[-1])
        if self._drawn is None:
            return self.samples[shape]
        settings = self._drawn.model_copy(update={"seed": seed_of_sample(self._seed, place)})
        return build_undersampling(make_mask(settings, shape))

    def shapes(self) -> list[tuple[int, ...]]:
        """(coils, H, W) of each sample; those that are equal can stand in one batch."""
        coils = [1] * len(self.volumes) if self.raw is None else [volume.coils for volume in self.raw]
        return [(coils[volume], *self.volumes[volume].shape[1:]) for volume, _ in self.indices]

    def with_keys(self, keys: Sequence[str]) -> "ReconstructionDataset":
        """The same slices with these entries of :data:`SAMPLE_KEYS` in a sample."""
        other = copy.copy(self)
        other.keys = tuple(keys)
        return other

    def augment(self, names: tuple[str, ...], seed: int, mask: MaskSettings | None = None) -> "ReconstructionDataset":
        """The same slices, each randomly transformed; the same seed gives the same, in whatever process.

        Args:
            names: of the random transforms.
            seed: of all that is drawn.
            mask: settings to draw a mask for every slice from; None: all have the same.
        """
        other = copy.copy(self)
        other._seed, other._drawn = seed, mask
        if names:
            images = self.raw is None
            other._augmentation = Augmentation(RECONSTRUCTION, names) if images else RawAugmentation(names)
        return other
