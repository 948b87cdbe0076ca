# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets for learning to reconstruct undersampled MR images."""

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor
from torch.utils.data import Dataset

from flare_mri.config.mask import MaskSettings
from flare_mri.config.site import SiteConfig
from flare_mri.datasets.acquisition import MEASURED, SIMULATED, Acquisition
from flare_mri.datasets.raw_volumes import RawVolume, open_raw_volumes
from flare_mri.datasets.split import fingerprint, seed_of_sample, split_slices
from flare_mri.datasets.volumes import Volume, find_scans, open_volumes
from flare_mri.errors import InputError
from flare_mri.io.formats import RECONSTRUCTION, naming_site
from flare_mri.transforms.augmentation import Augmentation, RawAugmentation, choose_augmentation
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
    """Slices of multi-coil k-space: `item(index)` gives `full` and `sensitivities`, complex64 [C, H, W]."""

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
    coils. K-space simulated from magnitudes has one coil, of sensitivity 1.

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
        item: Any = {"target": torch.from_numpy(np.asarray(self.volumes[volume][index], np.float32))[None]}
        if self.raw is not None:
            item |= self.raw[volume].item(index)
        if self._augmentation is not None:
            item = self._augmentation(item, seed_of_sample(self._seed, place))
        made = self._pipeline(item["target"], place)(item)
        sample = {key: made[key] for key in {"image", "target", "scale", "offset", *self.keys}}
        sample |= {"volume": volume, "slice": index}
        if self.highest is not None:
            sample["max"] = torch.tensor(self.highest[volume], dtype=torch.float32)
        return sample

    def _pipeline(self, image: Tensor, place: int) -> Compose:
        """From a fully sampled slice to a sample, with the mask of all slices of its size or one of its own."""
        shape = (image.shape[-2], image.shape[-1])
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


class ReconstructionData:
    """All a site trains and tests on; whatever is wrong with its data or settings is found here, before any round.

    Attributes:
        train, validation, test: the data sets; where the validation fraction is 0, `validation` is `test`.
        volume_names: names of the volumes, private to the site.
        shape: (H, W) of the images, of raw scans of several sizes that of the first.
        orientations: axis codes of the volumes as the network sees them, where that is known.
        augmentation: names of the random transforms in training.
        acquisition: of the samples.

    Args:
        config: the site's settings.
        seed: order in which subjects are divided between training, validation and test (`split.by: volume`).
        keys: those of :data:`SAMPLE_KEYS` that the network is called with.
        augmentation: whether the job asks for the task's random transforms in training.

    Raises:
        InputError: one line that names the site, the file or key, what was expected, what came and the fix.
    """

    def __init__(self, config: SiteConfig, seed: int, keys: Sequence[str] = ("image",), augmentation: bool = False):
        with naming_site(config.site):
            scans = find_scans(config, RECONSTRUCTION)
            volumes: Sequence[Volume | RawVolume]
            raw = open_raw_volumes(config, scans) if config.data.is_raw() else None
            volumes = open_volumes(config, RECONSTRUCTION) if raw is None else raw
            self.augmentation = choose_augmentation(
                RECONSTRUCTION, augmentation, config.data.augmentation, raw is not None
            )
            slices = [volume.slices for volume in volumes]
            height, width = slices[0].shape[1:]
            self.shape = (height, width)
            self.orientations = tuple(sorted({volume.orientation for volume in volumes} - {""}))
            sizes = dict.fromkeys((part.shape[1], part.shape[2]) for part in slices)
            masks = {size: make_mask(config.mask, size) for size in sizes}
            subjects = [volume.subject for volume in volumes]
            parts = split_slices([len(volume) for volume in slices], subjects, config.split, seed)
            self.volume_names = [volume.name for volume in volumes]
            self.train = ReconstructionDataset(slices, masks, parts.train, keys, raw=raw)
            self.validation, self.test = (
                ReconstructionDataset(slices, masks, part, keys, self._find_highest(slices, part), raw)
                for part in (parts.validation, parts.test)
            )
        self._notes: list[str] = []
        if not len(self.validation):
            self.validation = self.test
            self._notes.append("no validation slices: the test slices choose the best model too")
            logging.getLogger(__name__).warning("site %r: %s", config.site, self._notes[0])
        self.acquisition = _find_acquisition(volumes[0], self.shape, masks[self.shape])
        self._note_kinds()
        self._config, self._subjects = config, len(set(subjects))
        self._volumes = [(volume.name, volume.subject, volume.digest) for volume in volumes]

    def describe(self) -> dict[str, Any]:
        """Returns counts and settings that may leave the site: no path, no name, nothing of a patient."""
        return {
            "format": self._config.data.format,
            "kspace": self.acquisition.kspace,
            "coils": self.acquisition.coils,
            "subjects": self._subjects,
            "volumes": len(self.volume_names),
            "slices": {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)},
            "spatial_size": list(self.shape),
            "split_by": self._config.split.by,
            "mask": {"kind": self._config.mask.kind, "acceleration": round(self.acquisition.acceleration, 2)},
            "augmentation": list(self.augmentation),
            "notes": list(self._notes),
        }

    def fingerprint(self) -> str:
        """Hex SHA-256 of the volumes' slices, names and subjects and of which slices are for what; it stays here.

        Files that are copied, touched or moved to another root, with the names they have in it, keep it.
        """
        return fingerprint(self._volumes, [part.indices for part in (self.train, self.validation, self.test)])

    def _note_kinds(self) -> None:
        """A site whose scans differ in size or coils is told what the first alone stands for."""
        kinds = dict.fromkeys([*self.train.shapes(), *self.validation.shapes(), *self.test.shapes()])
        if len(kinds) > 1:
            told = ", ".join(f"{coils} coils of {height}x{width}" for coils, height, width in kinds)
            self._notes.append(f"scans of several kinds: {told}; a batch holds one kind")

    def _find_highest(self, slices: Sequence[Slices], part: Sequence[tuple[int, int]]) -> dict[int, float]:
        """The maximum of each volume's slices in a part, which scores are relative to: it must not be 0."""
        highest: dict[int, float] = {}
        for volume, index in part:
            highest[volume] = max(highest.get(volume, 0.0), float(np.max(slices[volume][index])))
        for volume, maximum in highest.items():
            if maximum <= 0:
                raise InputError(
                    f"{self.volume_names[volume]}: expected an image among its validation or test slices, got only "
                    "zeros; shorten data.slices or split by volume"
                )
        return highest


def _find_acquisition(volume: Volume | RawVolume, shape: tuple[int, int], mask: np.ndarray) -> Acquisition:
    """How a site's samples are acquired, by its first volume."""
    acceleration = 1 / float(mask.mean())
    if isinstance(volume, RawVolume):
        kspace = SIMULATED if volume.simulated else MEASURED
        return Acquisition(kspace, volume.kspace.shape[1], shape, acceleration, volume.field_of_view)
    return Acquisition(SIMULATED, 1, shape, acceleration)
