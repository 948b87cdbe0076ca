# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site's data for learning to reconstruct undersampled MR images."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.acquisition import MEASURED, SIMULATED, Acquisition
from flare_mri.datasets.raw_volumes import RawVolume, open_raw_volumes
from flare_mri.datasets.reconstruction_slices import ReconstructionDataset, Slices
from flare_mri.datasets.split import fingerprint, split_slices
from flare_mri.datasets.volumes import Volume, find_scans, open_volumes
from flare_mri.errors import InputError
from flare_mri.io.formats import RECONSTRUCTION, naming_site
from flare_mri.metrics.metric_table import HELD_OUT_SNR
from flare_mri.transforms.augmentation import choose_augmentation
from flare_mri.transforms.masks import make_mask


class ReconstructionData:
    """All a site trains and tests on; whatever is wrong with its data or settings is found here, before any round.

    Attributes:
        train, validation, test: the data sets; where the validation fraction is 0, `validation` is `test`.
        volume_names: names of the volumes, private to the site.
        shape: (H, W) of the images, of raw scans of several sizes that of the first.
        orientations: axis codes of the volumes as the network sees them, where that is known.
        augmentation: names of the random transforms in training.
        acquisition: of the samples.
        patients: that of each training slice, private to the site.
        undersampled: whether the scans were measured so: there are no targets then.
        key_metric: the metric that is looked at first.
        places: how the slices of each volume lie.

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
            if config.data.slices.labelled:
                raise InputError(f"data.slices: expected a range for {RECONSTRUCTION}, got labelled; leave it out")
            scans = find_scans(config, RECONSTRUCTION)
            volumes: Sequence[Volume | RawVolume]
            raw = open_raw_volumes(config, scans) if config.data.is_raw() else None
            volumes = open_volumes(config, RECONSTRUCTION) if raw is None else raw
            self.undersampled = raw is not None and raw[0].mask is not None
            self.key_metric = HELD_OUT_SNR if self.undersampled else "psnr"
            self.augmentation = choose_augmentation(
                RECONSTRUCTION, augmentation, config.data.augmentation, raw is not None, self.undersampled
            )
            slices = [volume.slices for volume in volumes]
            self.places = [volume.find_place(config.data.find_slice_axis()) for volume in volumes]
            height, width = slices[0].shape[1:]
            self.shape = (height, width)
            self.orientations = tuple(sorted({volume.orientation for volume in volumes} - {""}))
            sizes = dict.fromkeys((part.shape[1], part.shape[2]) for part in slices)
            masks = {} if self.undersampled else {size: make_mask(config.mask, size) for size in sizes}
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
        if self.undersampled:
            self._notes.append(
                "scans were measured undersampled: a job learns from them by --loss ssdu alone; they keep their own "
                "masks and are not scored"
            )
        contrasts = _find_contrasts([volumes[number] for number in {volume for volume, _ in self.train.indices}])
        self.acquisition = _find_acquisition(volumes[0], self.shape, masks.get(self.shape), contrasts)
        self._note_kinds()
        self.patients = [subjects[volume] for volume, _ in self.train.indices]
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
            "mask": {
                "kind": "own" if self.undersampled else self._config.mask.kind,
                "acceleration": round(self.acquisition.acceleration, 2),
            },
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


def _find_contrasts(volumes: Sequence[Volume | RawVolume]) -> tuple[str, ...]:
    """Of raw volumes, if each of them says it."""
    names = {volume.contrast if isinstance(volume, RawVolume) else None for volume in volumes}
    return tuple(sorted(name for name in names if name)) if None not in names else ()


def _find_acquisition(
    volume: Volume | RawVolume, shape: tuple[int, int], mask: np.ndarray | None, contrasts: tuple[str, ...]
) -> Acquisition:
    """How a site's samples are acquired, by its first volume; without a mask by the volume's own."""
    if isinstance(volume, RawVolume) and volume.mask is not None:
        mask = volume.mask[0]
    assert mask is not None  # only undersampled scans are without
    acceleration = 1 / float(mask.mean())
    if isinstance(volume, RawVolume):
        kspace = SIMULATED if volume.simulated else MEASURED
        return Acquisition(kspace, volume.kspace.shape[1], shape, acceleration, volume.field_of_view, contrasts)
    return Acquisition(SIMULATED, 1, shape, acceleration)
