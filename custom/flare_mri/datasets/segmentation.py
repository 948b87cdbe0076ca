# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets for learning to segment an organ, as IOP-FL does: slices with their neighbours ("2.5D")."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.split import SplitIndices, fingerprint, seed_of_sample, split_slices
from flare_mri.datasets.volumes import Volume, open_volumes
from flare_mri.errors import InputError
from flare_mri.io.formats import FORMATS, SEGMENTATION, check_task, naming_site
from flare_mri.transforms.augmentation import Augmentation, choose_augmentation
from flare_mri.transforms.neighbours import stack_neighbours

CLASSES = 2  # background and organ


class SegmentationDataset(Dataset[dict[str, Any]]):
    """Slices of volumes with their neighbours.

    A sample holds `image`, float32 [3, H, W]: the slice between its two neighbours *among the slices kept* of its
    volume, see :func:`~flare_mri.transforms.neighbours.stack_neighbours`; `label`, int64 [1, H, W] of 0 and 1, absent
    where the data set is not `labelled`; `volume` (int) and `slice`, its number in the scan as it was turned (int).

    Args:
        volumes: all volumes of the site.
        indices: (volume, index among its slices kept) of each item.

    Raises:
        InputError: some of the volumes have labels and some do not.
    """

    def __init__(self, volumes: Sequence[Volume], indices: Sequence[tuple[int, int]]):
        self.volumes, self.indices = volumes, list(indices)
        used = sorted({volume for volume, _ in self.indices})
        bare = [volumes[volume].name for volume in used if not volumes[volume].labelled]
        self.labelled = not bare
        if bare and len(bare) < len(used):
            raise InputError(
                f"{bare[0]}: expected a label as the other volumes have, got none; add it or leave out all labels"
            )
        self._augmentation: Augmentation | None = None
        self._seed = 0

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> dict[str, Any]:
        number, index = self.indices[place]
        volume = self.volumes[number]
        image, centre = stack_neighbours(volume.slices, index, len(volume.kept))
        item: Any = {"image": torch.from_numpy(image)}
        if self.labelled:
            item["label"] = torch.from_numpy(centre[1])[None]
        if self._augmentation is not None:
            item = self._augmentation(item, seed_of_sample(self._seed, place))
        if self.labelled:
            item["label"] = item["label"].long()
        return {**item, "volume": number, "slice": volume.kept[index]}

    def augment(self, names: tuple[str, ...], seed: int) -> "SegmentationDataset":
        """The same slices, each randomly transformed; the same seed gives the same, in whatever process."""
        if not names:
            return self
        other = copy.copy(self)
        other._augmentation, other._seed = Augmentation(SEGMENTATION, names), seed
        return other

    def spacing(self, volume: int) -> tuple[float, float, float]:
        """mm between slices, rows and columns of the network's slices."""
        return self.volumes[volume].spacing


class SliceImages(Sequence[Tensor]):
    """The images [3, H, W] of a data set alone, without labels, read when asked for."""

    def __init__(self, dataset: SegmentationDataset):
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[index] for index in range(len(self))[place]]
        return self._dataset[range(len(self))[place]]["image"]


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

    Args:
        config: the site's settings.
        seed: order in which volumes are divided where no list does it.
        augmentation: whether the job asks for the task's random transforms in training.

    Raises:
        InputError: one line that names the site, the file or key, what was expected, what came and the fix.
    """

    def __init__(self, config: SiteConfig, seed: int, augmentation: bool = False):
        self._config = config
        with naming_site(config.site):
            check_task(config.data.format, SEGMENTATION)
            if config.split.by != "volume" and not FORMATS[config.data.format].listed:
                raise InputError(
                    "split.by: expected volume, got slice; neighbours of training slices would be tested, set it"
                )
            self.volumes = open_volumes(config, SEGMENTATION)
            self.augmentation = choose_augmentation(SEGMENTATION, augmentation, config.data.augmentation)
            parts = _divide(self.volumes, config, seed)
            self.train, self.validation, self.test = (SegmentationDataset(self.volumes, part) for part in parts)
            if len(self.train) and not self.test.labelled:
                raise InputError("test volumes: expected labels at a site that trains, got none; add them to the list")
            self.outside = SegmentationDataset(self.volumes, sorted(sum(parts, start=[])))
        self.volume_names = [volume.name for volume in self.volumes]
        height, width = self.volumes[0].slices.shape[-2:]
        self.shape = (height, width)
        self.orientations = tuple(sorted({volume.orientation for volume in self.volumes} - {""}))
        self._notes: list[str] = []
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

    def describe(self) -> dict[str, Any]:
        """Returns counts and settings that may leave the site: no path, no name, nothing of a patient."""
        return {
            "format": self._config.data.format,
            "volumes": len(self.volumes),
            "slices": {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)},
            "spatial_size": list(self.shape),
            "fit": self._config.data.find_fit(),
            "split_by": "list" if FORMATS[self._config.data.format].listed else self._config.split.by,
            "labelled": self.outside.labelled,
            "augmentation": list(self.augmentation),
            "notes": list(self._notes),
        }

    def fingerprint(self) -> str:
        """Hex SHA-256 of the volumes' slices, labels, names and grids and of which slices are for what; it stays here.

        Files that are copied, touched or moved to another root, with the names they have in it, keep it.
        """
        volumes = [(v.name, v.labelled, v.kept, v.spacing, v.digest) for v in self.volumes]
        return fingerprint(volumes, [part.indices for part in (self.train, self.validation, self.test)])


def _divide(volumes: Sequence[Volume], config: SiteConfig, seed: int) -> SplitIndices:
    """By the site's list, or by `split`; volumes without labels are all for testing."""
    counts = [len(volume.kept) for volume in volumes]
    if not FORMATS[config.data.format].listed and any(volume.labelled for volume in volumes):
        return split_slices(counts, [volume.name for volume in volumes], config.split, seed)
    split = SplitIndices([], [], [])
    for number, volume in enumerate(volumes):
        part = getattr(split, volume.section or "test")
        part.extend((number, index) for index in range(counts[number]))
    if not split.test:
        raise InputError("data.datalist: expected at least one row under test, got none; add some to the list")
    return split
