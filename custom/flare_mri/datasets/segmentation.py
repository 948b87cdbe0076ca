# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets for learning to segment an organ, as IOP-FL does: slices with their neighbours ("2.5D")."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.labelled import LabelledVolume, open_labelled
from flare_mri.datasets.split import Split, fingerprint, split_slices
from flare_mri.errors import InputError
from flare_mri.io.formats import FORMATS, SEGMENTATION, check_task, naming_site
from flare_mri.io.orientation import known

CHANNELS = 3  # a slice between its two neighbours
CLASSES = 2  # background and organ


class SegmentationDataset(Dataset[dict[str, Any]]):
    """Slices of volumes with their neighbours.

    An item holds `image`, float32 [3, H, W]: the slice in the middle between its two neighbours *among the slices
    kept* of its volume, the first and the last with themselves for the neighbour that is not there, so that the centre
    channel is always the labelled slice; `label`, int64 [H, W] of 0 and 1, absent where the data set is not
    `labelled`; `volume` (int) and `slice`, its number in the volume as it is stored (int).

    Args:
        volumes: all volumes of the site.
        indices: (volume, index among its slices kept) of each item.

    Raises:
        InputError: some of the volumes have labels and some do not.
    """

    def __init__(self, volumes: Sequence[LabelledVolume], indices: Sequence[tuple[int, int]]):
        self.volumes, self.indices = volumes, list(indices)
        used = sorted({volume for volume, _ in self.indices})
        bare = [volumes[volume].name for volume in used if not volumes[volume].labelled]
        self.labelled = not bare
        if bare and len(bare) < len(used):
            raise InputError(
                f"{bare[0]}: expected a label as the other volumes have, got none; add it or leave out all labels"
            )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> dict[str, Any]:
        number, index = self.indices[place]
        volume = self.volumes[number]
        last = len(volume.grid.kept) - 1
        first = max(index - 1, 0)
        near = volume.slices[first : index + 2]  # one access to the cache
        before, centre, after = (near[at - first] for at in (first, index, min(index + 1, last)))
        item = {
            "image": torch.from_numpy(np.stack([before[0], centre[0], after[0]])),
            "volume": number,
            "slice": volume.grid.kept[index],
        }
        if self.labelled:
            item["label"] = torch.from_numpy(centre[1].astype(np.int64))
        return item

    def spacing(self, volume: int) -> tuple[float, float, float]:
        """mm between slices, rows and columns of the network's grid."""
        return self.volumes[volume].grid.network_spacing


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
        volumes: the volumes; `volumes[i].grid.to_native` maps predictions back to the file's own grid.
        volume_names: names of the volumes, private to the site.
        shape: (H, W) of the slices.
        orientations: how the axes of the volumes' files lie, see :mod:`flare_mri.io.orientation`.

    Args:
        config: the site's settings.
        seed: order in which volumes are divided where no list does it.

    Raises:
        InputError: one line that names the site, the file or key, what was expected, what came and the fix.
    """

    def __init__(self, config: SiteConfig, seed: int):
        self._config = config
        with naming_site(config.site):
            check_task(config.data.format, SEGMENTATION)
            if config.split.by != "volume" and not FORMATS[config.data.format].listed:
                raise InputError(
                    "split.by: expected volume, got slice; neighbours of training slices would be tested, set it"
                )
            self.volumes = open_labelled(config)
            parts = _divided(self.volumes, config, seed)
            self.train, self.validation, self.test = (SegmentationDataset(self.volumes, part) for part in parts)
            if len(self.train) and not self.test.labelled:
                raise InputError("test volumes: expected labels at a site that trains, got none; add them to the list")
            self.outside = SegmentationDataset(self.volumes, sorted(sum(parts, start=[])))
        self.volume_names = [volume.name for volume in self.volumes]
        self.shape = self.volumes[0].grid.matrix
        self.orientations = known(volume.orientation for volume in self.volumes)
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
            "matrix": list(self.shape),
            "fit": self._config.data.fit,
            "split_by": "list" if FORMATS[self._config.data.format].listed else self._config.split.by,
            "labelled": self.outside.labelled,
            "notes": list(self._notes),
        }

    def fingerprint(self) -> str:
        """Hex SHA-256 of the volumes' slices, labels, names and grids and of which slices are for what; it stays here.

        Files that are copied, touched or moved to another root, with the names they have in it, keep it.
        """
        volumes = [(volume.name, volume.labelled, asdict(volume.grid), volume.digest) for volume in self.volumes]
        return fingerprint(volumes, [part.indices for part in (self.train, self.validation, self.test)])


def _divided(volumes: Sequence[LabelledVolume], config: SiteConfig, seed: int) -> Split:
    """By the site's list, or by `split`; volumes without labels are all for testing."""
    counts = [len(volume.grid.kept) for volume in volumes]
    if not FORMATS[config.data.format].listed and any(volume.labelled for volume in volumes):
        return split_slices(counts, [volume.name for volume in volumes], config.split, seed)
    split = Split([], [], [])
    for number, volume in enumerate(volumes):
        part = getattr(split, volume.section or "test")
        part.extend((number, index) for index in range(counts[number]))
    if not split.test:
        raise InputError("data.datalist: expected at least one row under test, got none; add some to the list")
    return split
