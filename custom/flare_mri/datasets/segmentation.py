# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site's data for learning to segment organs."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.config.site import SiteConfig
from flare_mri.datasets.organ_sizes import OrganSizes
from flare_mri.datasets.organs import match_organs
from flare_mri.datasets.pieces import Pieces
from flare_mri.datasets.segmentation_slices import PatchDataset, SegmentationDataset
from flare_mri.datasets.split import SplitIndices, fingerprint, split_slices
from flare_mri.datasets.volumes import Volume, open_volumes
from flare_mri.errors import InputError
from flare_mri.io.formats import SEGMENTATION, check_task, naming_site
from flare_mri.transforms.augmentation import choose_augmentation


class SegmentationData:
    """All a site trains and tests on; whatever is wrong with its data or settings is found here, before any round.

    Attributes:
        train, validation, test: the data sets; without validation volumes `validation` is `test`. `train` is empty at
            a site that never trains.
        outside: every slice of the site, for the test-time adaptation of a site that never trained.
        volumes: the volumes.
        volume_names: names of the volumes, private to the site.
        shape: (H, W) of the slices.
        orientations: axis codes of the volumes as the network sees them, where that is known.
        augmentation: names of the random transforms in training.
        plan: what the job's network marks, and in what pieces.
        organs: from the site's labels to the job's classes.

    Args:
        config: the site's settings.
        seed: order in which volumes are divided where no list does it.
        augmentation: whether the job asks for the task's random transforms in training.
        plan: of the job.

    Raises:
        InputError: one line that names the site, the file or key, what was expected, what came and the fix.
    """

    def __init__(
        self,
        config: SiteConfig,
        seed: int,
        augmentation: bool = False,
        plan: SegmentationPlan = SegmentationPlan(),  # noqa: B008 (it is frozen)
    ):
        self._config, self.plan = config, plan
        with naming_site(config.site):
            check_task(config.data.format, SEGMENTATION)
            if plan.patch_size is not None and config.data.slices.labelled:
                raise InputError(
                    "data.slices: expected whole volumes for a 3D network, got labelled; leave it out in site.yaml"
                )
            self._listed = config.data.is_listed()
            if config.split.by != "volume" and not self._listed:
                raise InputError(
                    "split.by: expected volume for segmentation, got slice; it would test neighbours of training "
                    "slices, set by: volume"
                )
            self.volumes = open_volumes(config, SEGMENTATION)
            labelled = any(volume.labelled for volume in self.volumes)
            self.organs = match_organs(plan.organs, config.data.find_labels() if labelled else ())
            self.augmentation = choose_augmentation(SEGMENTATION, augmentation, config.data.augmentation)
            parts = _divide(self.volumes, self._listed, config, seed)
            self.train, self.validation, self.test = (self._slices(part) for part in parts)
            if len(self.train) and not self.test.labelled:
                raise InputError("test volumes: expected labels at a site that trains, got none; add them to the list")
            self.outside = self._slices(sorted(sum(parts, start=[])))
        self.volume_names = [volume.name for volume in self.volumes]
        height, width = self.volumes[0].slices.shape[-2:]
        self.shape = (height, width)
        self.orientations = tuple(sorted({volume.orientation for volume in self.volumes} - {""}))
        self._notes: list[str] = []
        if self.organs.labelled and self.organs.missing:
            self._notes.append(f"not labelled here: {', '.join(self.organs.missing)}; not learned from these scans")
        if not self.outside.labelled:
            self._notes.append("no labels: all slices are taken, nothing can be scored")
        if not len(self.train):
            self._notes.append("no training volumes: an outside site")
        if not len(self.validation):
            self.validation = self.test
            if len(self.train):
                self._notes.append("no validation volumes: the test volumes choose the best model too")
        for note in self._notes:
            logging.getLogger(__name__).warning("site %r: %s", config.site, note)

    def epoch(self, seed: int, balanced: bool = True) -> Dataset:
        """Samples of an epoch of training, randomly transformed.

        Args:
            seed: of the epoch.
            balanced: about as many slices without an organ as with one; False: all.
        """
        left_right = self._find_left_right()
        if self.plan.patch_size is not None:
            return PatchDataset(self.train, self.plan.patch_size, seed, self.augmentation, left_right)
        within = left_right - 1 if left_right else None
        slices = self.train.balance(seed) if balanced else self.train
        return slices.augment(self.augmentation, seed, within)

    def patients(self) -> list[str]:
        """Patient of each sample of an epoch that is not balanced, private to the site."""
        epoch = self.epoch(0, balanced=False)
        numbers = epoch.numbers if isinstance(epoch, PatchDataset) else [volume for volume, _ in self.train.indices]
        return [self.volumes[number].subject for number in numbers]

    def pieces(self, dataset: SegmentationDataset) -> Pieces:
        """The volumes of a data set as the network takes them."""
        return Pieces([self.volumes[number].slices for number in dataset.used], self.plan)

    def find_organ_sizes(self) -> OrganSizes | None:
        """The sizes of the organs in the training labels; None where a volume's own size or labels are not known.

        Slices without an organ may have been left out: these have no part in it.
        """
        numbers = self.train.used
        if not numbers or not self.train.labelled or any(not self.volumes[number].orientation for number in numbers):
            return None
        found: dict[str, list[float]] = {}
        for number in numbers:
            volume = self.volumes[number]
            slices = [volume.slices[index][1] for index, marked in enumerate(volume.marked) if marked]
            counts = np.zeros(256)
            for one in slices:
                counts += np.bincount(self.organs.apply(one).ravel(), minlength=256)
            for organ in self.organs.labelled:
                if counts[organ]:
                    size = float(counts[organ]) * math.prod(volume.spacing) / 1000
                    found.setdefault(self.plan.organs[organ - 1], []).append(size)
        return OrganSizes({name: (min(sizes), max(sizes)) for name, sizes in found.items()})

    def _slices(self, part: Sequence[tuple[int, int]]) -> SegmentationDataset:
        return SegmentationDataset(self.volumes, part, self.organs)

    def _find_left_right(self) -> int | None:
        """Axis of [slices, rows, columns] from left to right; None where it is not known or not one of all volumes."""
        axis, found = self._config.data.find_slice_axis(), set()
        for codes in self.orientations or ("",):
            places = list(codes)
            if places:
                places.insert(0, places.pop(axis))
            found.add(next((at for at, code in enumerate(places) if code in "LR"), None))
        return found.pop() if len(found) == 1 else None

    def describe(self) -> dict[str, Any]:
        """Returns counts and settings that may leave the site: no path, no name, nothing of a patient."""
        return {
            "format": self._config.data.format,
            "volumes": len(self.volumes),
            "slices": {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)},
            "spatial_size": list(self.shape),
            "fit": self._config.data.find_fit(),
            "split_by": "list" if self._listed else self._config.split.by,
            "labelled": self.outside.labelled,
            "organs": [self.plan.organs[number - 1] for number in self.organs.labelled],
            "augmentation": list(self.augmentation),
            "notes": list(self._notes),
        }

    def fingerprint(self) -> str:
        """Hex SHA-256 of the volumes' slices, labels, names and grids and of which slices are for what; it stays here.

        Files that are copied, touched or moved to another root, with the names they have in it, keep it.
        """
        volumes = [(v.name, v.labelled, v.kept, v.spacing, v.digest, *self.organs.labelled) for v in self.volumes]
        return fingerprint(volumes, [part.indices for part in (self.train, self.validation, self.test)])


def _divide(volumes: Sequence[Volume], listed: bool, config: SiteConfig, seed: int) -> SplitIndices:
    """By the site's list, or by `split`; volumes without labels are all for testing."""
    counts = [len(volume.kept) for volume in volumes]
    if not listed and any(volume.labelled for volume in volumes):
        return split_slices(counts, [volume.subject for volume in volumes], config.split, seed)
    split = SplitIndices([], [], [])
    for number, volume in enumerate(volumes):
        part = getattr(split, volume.section or "test")
        part.extend((number, index) for index in range(counts[number]))
    if not split.test:
        raise InputError("data.datalist: expected at least one row under test, got none; add some to the list")
    return split
