# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Samples of labelled volumes: slices with their neighbours ("2.5D", as IOP-FL's), and patches for 3D networks."""

import copy
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import RandCropByPosNegLabeld
from torch import Tensor
from torch.utils.data import Dataset

from flare_mri.config.segmentation import IGNORED
from flare_mri.datasets.organs import OrganTable
from flare_mri.datasets.pieces import pad_to
from flare_mri.datasets.split import seed_of_sample
from flare_mri.datasets.volumes import Volume
from flare_mri.errors import InputError
from flare_mri.io.formats import SEGMENTATION
from flare_mri.transforms.augmentation import Augmentation
from flare_mri.transforms.neighbours import stack_neighbours

_KEYS = ("image", "label")


class SegmentationDataset(Dataset[dict[str, Any]]):
    """Slices of volumes with their neighbours.

    A sample holds `image`, float32 [3, H, W]: the slice between its two neighbours *among the slices kept* of its
    volume, see :func:`~flare_mri.transforms.neighbours.stack_neighbours`; `label`, int64 [1, H, W] of the job's
    classes, absent where the data set is not `labelled`; `volume` (int) and `slice`, its number in the scan as it was
    turned (int).

    Args:
        volumes: all volumes of the site.
        indices: (volume, index among its slices kept) of each item.
        table: from the site's labels to the job's classes.

    Raises:
        InputError: some of the volumes have labels and some do not.
    """

    def __init__(self, volumes: Sequence[Volume], indices: Sequence[tuple[int, int]], table: OrganTable):
        self.volumes, self.indices, self.table = volumes, list(indices), table
        bare = [volumes[volume].name for volume in self.used if not volumes[volume].labelled]
        self.labelled = not bare
        if bare and len(bare) < len(self.used):
            raise InputError(
                f"{bare[0]}: expected a label as the other volumes have, got none; add it or leave out all labels"
            )
        self._augmentation: Augmentation | None = None
        self._seed = 0

    @property
    def used(self) -> list[int]:
        """Numbers of the volumes whose slices these are."""
        return sorted({volume for volume, _ in self.indices})

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> dict[str, Any]:
        number, index = self.indices[place]
        volume = self.volumes[number]
        image, centre = stack_neighbours(volume.slices, index, len(volume.kept))
        item: Any = {"image": torch.from_numpy(image)}
        if self.labelled:
            item["label"] = torch.from_numpy(self.table.apply(centre[1]))[None].float()
        if self._augmentation is not None:
            item = self._augmentation(item, seed_of_sample(self._seed, place))
        if self.labelled:
            item["label"] = item["label"].long()
        return {**item, "volume": number, "slice": volume.kept[index]}

    def truth(self, place: int) -> np.ndarray:
        """Classes uint8 [H, W] of one slice."""
        number, index = self.indices[place]
        return self.table.apply(self.volumes[number].slices[index][1])

    def balance(self, seed: int) -> "SegmentationDataset":
        """The slices that hold an organ and at most as many others, drawn with `seed`: an epoch of training."""
        others = [place for place, (volume, index) in enumerate(self.indices) if not self.volumes[volume].marked[index]]
        wanted = len(self.indices) - len(others)
        if len(others) <= wanted or not wanted:
            return self
        left_out = set(np.random.default_rng(seed).permutation(others)[wanted:].tolist())
        other = copy.copy(self)
        other.indices = [index for place, index in enumerate(self.indices) if place not in left_out]
        return other

    def augment(self, names: tuple[str, ...], seed: int, left_right: int | None) -> "SegmentationDataset":
        """The same slices, each randomly transformed; the same seed gives the same, in whatever process.

        Args:
            names: of :data:`~flare_mri.transforms.augmentation.SEGMENTATION_TRANSFORMS`.
            seed: of the epoch.
            left_right: axis of [H, W] from left to right; None: there is none, or it is not known.
        """
        if not names:
            return self
        other = copy.copy(self)
        other._augmentation, other._seed = Augmentation(SEGMENTATION, names, left_right=left_right), seed
        return other

    def spacing(self, volume: int) -> tuple[float, float, float]:
        """mm between slices, rows and columns of the network's slices."""
        return self.volumes[volume].spacing


class PatchDataset(Dataset[dict[str, Any]]):
    """Random patches of whole volumes, half of them about a voxel of an organ: an epoch of training of a 3D network.

    A sample holds `image`, float32 [1, D, H, W], and `label`, int64 of the same shape. An epoch has as many patches of
    each volume as cover it. Voxels beyond a volume that is smaller than a patch are 0 and not learned from.

    Args:
        slices: all training slices of the site, of whole volumes.
        patch_size: [D, H, W].
        seed: of the epoch; the same seed gives the same patches, in whatever process.
        names: of random transforms.
        left_right: axis of [D, H, W] from left to right; None: not known.

    Attributes:
        numbers: that of the volume of each patch.
    """

    def __init__(
        self,
        slices: SegmentationDataset,
        patch_size: tuple[int, int, int],
        seed: int,
        names: tuple[str, ...] = (),
        left_right: int | None = None,
    ):
        self._slices, self._size, self._seed = slices, patch_size, seed
        self.numbers: list[int] = []
        for number in slices.used:
            volume = slices.volumes[number].slices
            sizes = (len(volume), *volume.shape[-2:])
            count = math.prod(math.ceil(size / patch) for size, patch in zip(sizes, patch_size, strict=True))
            self.numbers += [number] * count
        self._augmentation = Augmentation(SEGMENTATION, names, left_right=left_right, dims=3) if names else None

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> dict[str, Any]:
        seed = seed_of_sample(self._seed, place)
        whole = self._slices.volumes[self.numbers[place]].slices[:]
        label = torch.from_numpy(self._slices.table.apply(whole[:, 1])).float()[None]
        image = pad_to(torch.from_numpy(whole[:, 0])[None], self._size)
        item: dict[Hashable, Tensor] = {"image": image, "label": pad_to(label, self._size, IGNORED)}
        item["organ"] = item["label"] % IGNORED
        crop = RandCropByPosNegLabeld(("image", "label"), "organ", self._size, pos=1, neg=1)
        crop.set_random_state(seed=seed)
        taken = crop(item)[0]
        patch: Any = {key: torch.as_tensor(taken[key]) for key in _KEYS}
        if self._augmentation is not None:
            patch = self._augmentation(patch, seed)
        return {"image": patch["image"], "label": patch["label"].long()}
