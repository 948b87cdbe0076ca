# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets for learning to reconstruct undersampled MR images."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.split import fingerprint, split_slices
from flare_mri.datasets.volumes import open_volumes
from flare_mri.errors import InputError
from flare_mri.io.formats import naming_site
from flare_mri.io.orientation import known
from flare_mri.transforms.kspace import undersample
from flare_mri.transforms.masks import make_mask

SAMPLE_KEYS = ("input", "kspace", "mask")
"""What a network may be called with: entries of an item that are known of a scan that was undersampled."""
_EPSILON = 1e-11  # keeps a slice of nothing but air finite


class Slices(Protocol):
    """What a data set needs of a volume: an array [S, H, W] or anything that gives slices [H, W] as one does."""

    def __getitem__(self, index: int, /) -> Any: ...


class ReconstructionDataset(Dataset[dict[str, Any]]):
    """Slices of volumes, undersampled with one fixed mask.

    An item holds `input`, the zero-filled magnitude normalised by its own mean and standard deviation, and `target`,
    the fully sampled magnitude normalised by *the input's* (both float32 [1, H, W]); `mean` and `std` (float32, no
    dimensions), with which `x * std + mean` undoes it; `volume` and `slice` (int). Where asked for, also `kspace`
    float32 [2, H, W], real and imaginary part of the sampled centred orthonormal k-space divided by `std` (so its
    images are magnitudes / `std`, with the mean still in), and `mask` float32 [1, H, W].

    Args:
        volumes: each [S, H, W], float32 magnitudes.
        mask: bool [H, W], centred.
        indices: (volume, slice) of each item.
        keys: those of :data:`SAMPLE_KEYS` that the network is called with.
    """

    def __init__(
        self,
        volumes: Sequence[Slices],
        mask: np.ndarray,
        indices: Sequence[tuple[int, int]],
        keys: Sequence[str] = ("input",),
    ):
        self.volumes, self.indices, self.keys = volumes, list(indices), tuple(keys)
        self.mask = torch.from_numpy(np.asarray(mask, np.float32))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> dict[str, Any]:
        volume, index = self.indices[place]
        image = torch.from_numpy(np.asarray(self.volumes[volume][index], np.float32))
        zero_filled, kspace = undersample(image, self.mask)
        mean, std = zero_filled.mean(), zero_filled.std() + _EPSILON
        item = {
            "input": ((zero_filled - mean) / std)[None],
            "target": ((image - mean) / std)[None],
            "mean": mean,
            "std": std,
            "volume": volume,
            "slice": index,
        }
        if "kspace" in self.keys:
            item["kspace"] = torch.view_as_real(kspace / std).movedim(-1, 0).contiguous()
        if "mask" in self.keys:
            item["mask"] = self.mask[None]
        return item


class ReconstructionData:
    """All a site trains and tests on; whatever is wrong with its data or settings is found here, before any round.

    Attributes:
        train, validation, test: the data sets; where the validation fraction is 0, `validation` is `test`.
        volume_names: names of the volumes, private to the site.
        shape: (H, W) of the images.
        orientations: how the axes of the volumes' files lie, see :mod:`flare_mri.io.orientation`.

    Args:
        config: the site's settings.
        seed: order in which subjects are divided between training, validation and test (`split.by: volume`).
        keys: those of :data:`SAMPLE_KEYS` that the network is called with.

    Raises:
        InputError: one line that names the site, the file or key, what was expected, what came and the fix.
    """

    def __init__(self, config: SiteConfig, seed: int, keys: Sequence[str] = ("input",)):
        with naming_site(config.site):
            volumes = open_volumes(config)
            slices = [volume.slices for volume in volumes]
            height, width = slices[0].shape[1:]
            self.shape = (height, width)
            self.orientations = known(volume.orientation for volume in volumes)
            mask = make_mask(config.mask, self.shape)
            subjects = [volume.subject for volume in volumes]
            parts = split_slices([len(volume) for volume in slices], subjects, config.split, seed)
            self.volume_names = [volume.name for volume in volumes]
            self.train, self.validation, self.test = (ReconstructionDataset(slices, mask, part, keys) for part in parts)
            self._check_scorable()
        self._notes: list[str] = []
        if not len(self.validation):
            self.validation = self.test
            self._notes.append("no validation slices: the test slices choose the best model too")
            logging.getLogger(__name__).warning("site %r: %s", config.site, self._notes[0])
        self._config, self._mask, self._subjects = config, mask, len(set(subjects))
        self._volumes = [(volume.name, volume.subject, volume.digest) for volume in volumes]

    def describe(self) -> dict[str, Any]:
        """Returns counts and settings that may leave the site: no path, no name, nothing of a patient."""
        return {
            "format": self._config.data.format,
            "subjects": self._subjects,
            "volumes": len(self.volume_names),
            "slices": {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)},
            "matrix": list(self.shape),
            "split_by": self._config.split.by,
            "mask": {"kind": self._config.mask.kind, "acceleration": round(1 / float(self._mask.mean()), 2)},
            "notes": list(self._notes),
        }

    def fingerprint(self) -> str:
        """Hex SHA-256 of the volumes' slices, names and subjects and of which slices are for what; it stays here.

        Files that are copied, touched or moved to another root, with the names they have in it, keep it.
        """
        return fingerprint(self._volumes, [part.indices for part in (self.train, self.validation, self.test)])

    def _check_scorable(self) -> None:
        """Scores are relative to the maximum of a volume's slices, which must not be 0."""
        for part in (self.validation, self.test):
            highest: dict[int, float] = {}
            for volume, index in part.indices:
                highest[volume] = max(highest.get(volume, 0.0), float(np.max(part.volumes[volume][index])))
            for volume, maximum in highest.items():
                if maximum <= 0:
                    raise InputError(
                        f"{self.volume_names[volume]}: expected an image among its validation or test slices, got only "
                        "zeros; shorten data.slices or split by volume"
                    )
