# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of new scans: labels as NIfTI, on the voxels of the scan itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.volumes import find_scans
from flare_mri.errors import InputError
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.inference.placement import PlacedScan, encode_nifti, place_scan
from flare_mri.inference.quality import PUBLISHED, estimate_quality
from flare_mri.inference.result import Result
from flare_mri.io.formats import FORMATS, SEGMENTATION, check_task
from flare_mri.routing import MIN_SLICES, predict
from flare_mri.training.build import resolve_device
from flare_mri.transforms.neighbours import stack_neighbours


class Segmenter:
    """Marks the organ in scans, as the model did at the site: slices with neighbours, the volume z-scored.

    Args:
        model: of a segmentation job.
        config: the site's settings: slices, spatial size, fit, device.
        scans: folder of NIfTI files; None for the volumes that the site's own settings name. Labels are not read.

    Raises:
        InputError: data of another task, no scan, or a state that does not fit the network.
    """

    ending = "_segmentation.nii.gz"
    more_endings: tuple[str, ...] = ()
    outlined = True

    def __init__(self, model: PersonalModel, config: SiteConfig, scans: Path | None = None):
        check_task(config.data.format, SEGMENTATION)
        self._data = config.data if scans is None else config.data.model_copy(update={"root": scans})
        unlabelled = FORMATS[config.data.format].find_unlabelled
        if scans is None or unlabelled is None:
            found = find_scans(config.model_copy(update={"data": self._data}), SEGMENTATION)
        else:
            found = unlabelled(self._data)
        self._scans = [replace(scan, label=None) for scan in found]
        self.names = [scan.name for scan in self._scans]
        self._network = model.build().to(resolve_device(config.device, config.site, config.file))
        self._model = model

    def read(self, number: int) -> tuple[PlacedScan, list[Tensor]]:
        """One scan and its slices with their neighbours, [3, H, W] each, as the network takes them.

        Raises:
            InputError: a scan that cannot be read, or of another size.
        """
        placed = place_scan(self._scans[number], self._model, self._data)
        slices, count = placed.slices, len(placed.kept)
        return placed, [torch.from_numpy(stack_neighbours(slices[:, None], at, count)[0]) for at in range(count)]

    def apply(self, number: int) -> Result:
        """Labels of all slices of one scan, and how good they are likely to be.

        Raises:
            InputError: a scan that cannot be read, of another size, or too few slices for a routed network's
                statistics.
        """
        placed, images = self.read(number)
        slices, count = placed.slices, len(placed.kept)
        if self._model.experts and count < MIN_SLICES:
            raise InputError(
                f"{placed.scan.origin}: expected at least {MIN_SLICES} slices, whose statistics a routed model uses, "
                f"got {count}; leave this scan out"
            )
        probabilities = predict(self._network, images, self._model.batch_size)
        labels = probabilities.argmax(1).numpy().astype(np.uint8)
        calibration = self._model.calibration or PUBLISHED
        quality = estimate_quality(self._network, images, probabilities, self._model.batch_size, calibration)
        on_scan = placed.to_scan(labels, nearest=True)
        shown = int(labels.sum((1, 2)).argmax())
        millilitres = float(on_scan.as_tensor().sum()) * abs(float(np.linalg.det(on_scan.affine[:3, :3]))) / 1000
        size = f", {millilitres:.1f} ml" if placed.place_known else ""
        return Result(
            encode_nifti(on_scan, np.uint8),
            f"{count} slices{placed.describe_rest()}, organ on {int(labels.any((1, 2)).sum())}{size}, "
            f"predicted Dice {quality.dice:.2f}",
            {"input": slices[shown], "output": labels[shown]},
            warnings=(quality.warning,) if quality.warning else (),
            predicted_dice=quality.dice,
        )
