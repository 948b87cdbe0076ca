# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of new scans: labels as NIfTI and DICOM, on the voxels of the scan itself."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from pydicom.dataset import FileDataset

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.pieces import Pieces
from flare_mri.datasets.volumes import find_scans
from flare_mri.errors import InputError
from flare_mri.inference.application import Application, Result
from flare_mri.inference.calibration import PUBLISHED
from flare_mri.inference.contrast import warn_of_contrast
from flare_mri.inference.dicom_overlay import check_planes
from flare_mri.inference.dicom_segmentation import encode_segmentation
from flare_mri.inference.dicom_series import encode_series
from flare_mri.inference.dicom_source import NO_DICOM, check_dicom_extra, read_source, title_of
from flare_mri.inference.new_scans import find_new_scans
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.inference.placement import PlacedScan, encode_nifti, place_scan
from flare_mri.inference.quality import PASSES, doubt, estimate_quality
from flare_mri.io.formats import SEGMENTATION, check_task
from flare_mri.io.scan import Scan
from flare_mri.progress import with_progress_of
from flare_mri.report.colours import PREDICTION_COLOUR, choose_colours
from flare_mri.routing import MIN_SLICES
from flare_mri.training.build import resolve_device

_DICOM, _OVERLAY = "_segmentation.dcm", "_outlines_dicom"


class Segmenter(Application):
    """Marks organs in scans, as the model did at the site: the volume z-scored, in the model's own pieces.

    Args:
        model: of a segmentation job.
        config: the site's settings: slices, spatial size, fit, device.
        scans: new scans, see :func:`~flare_mri.inference.new_scans.find_new_scans`; None for the volumes that the
            site's own settings name. Labels are not read.
        dicom: of a DICOM series also write the labels as DICOM.
        overlay: and its images as a further series, with outlines of the organs.

    Raises:
        InputError: data of another task, a state that does not fit the network, no package for DICOM, or more organs
            than can be outlined.
    """

    ending = "_segmentation.nii.gz"

    def __init__(
        self,
        model: PersonalModel,
        config: SiteConfig,
        scans: Path | None = None,
        dicom: bool = False,
        overlay: bool = False,
    ):
        super().__init__(scans)
        check_task(config.data.format, SEGMENTATION)
        self._config, self._data, self._model = config, config.data, model
        self._dicom, self._overlay = dicom, overlay
        if dicom:
            check_dicom_extra()
            self.more_endings = (_DICOM, *([_OVERLAY] if overlay else []))
        if overlay:
            check_planes(model.plan.organs)
        self._network = model.build().to(resolve_device(config.device, config.site, config.file))
        self.organs = model.plan.organs
        self.calibrated = model.calibration is not None
        own = getattr(config.data, "colours", {})  # a phantom has none
        wanted = {name: own.get(name, "") for name in self.organs}
        one = len(wanted) == 1
        self.colours = {name: c or PREDICTION_COLOUR for name, c in wanted.items()} if one else choose_colours(wanted)

    def _find(self, place: Path | None) -> list[Scan]:
        if place is None:
            found = find_scans(self._config, SEGMENTATION)
        else:
            found = find_new_scans(self._data, self._config.site, SEGMENTATION, place)
        return [replace(scan, label=None) for scan in found]

    def read(self, number: int) -> tuple[PlacedScan, Pieces]:
        """One scan, and the pieces of it that the network takes.

        Raises:
            InputError: a scan that cannot be read, or of another size.
        """
        placed = place_scan(self.scans[number], self._model, self._data)
        return placed, Pieces([placed.slices[:, None]], self._model.plan)

    def apply(self, number: int) -> Result:
        """Classes of all voxels of one scan, numbered as the plan's organs, and how good they are likely to be.

        Raises:
            InputError: a scan that cannot be read, of another size, or too few slices for a routed network's
                statistics.
        """
        source = read_source(self.scans[number]) if self._dicom else None
        placed, pieces = self.read(number)
        slices, count = placed.slices, len(placed.kept)
        if self._model.experts and self._model.plan.patch_size is None and count < MIN_SLICES:
            raise InputError(
                f"{placed.scan.origin}: expected at least {MIN_SLICES} slices, whose statistics a routed model uses, "
                f"got {count}; leave this scan out"
            )
        batch_size, calibration = self._model.batch_size, self._model.calibration or PUBLISHED
        batches = None if self._model.plan.patch_size else PASSES * math.ceil(len(pieces) / batch_size)
        with with_progress_of(self._network, self.names[number], batches):
            probabilities = pieces.probabilities(self._network, batch_size)
            quality = estimate_quality(self._network, pieces, probabilities, batch_size, calibration)
        contrast = "" if self._model.experts else warn_of_contrast(self._network, pieces)
        quality = doubt(quality, self._model.own_dice, self._model.distance, contrast, calibration.threshold)
        labels = probabilities.argmax(1).numpy().astype(np.uint8)
        on_scan = placed.to_scan(labels, nearest=True)
        seen = -slices if self._data.is_inverted() else slices  # people look at the scan, not at its negative
        shown = int((labels > 0).sum((1, 2)).argmax())
        more = {} if source is None else self._encode_dicom(placed.scan, source, on_scan)
        sizes = self._measure(on_scan) if placed.place_known else {}
        told = [self._tell(number, name, labels, sizes) for number, name in enumerate(self.organs, 1)]
        warnings: tuple[str, ...] = (quality.warning,) if quality.warning else ()
        if self._model.organ_sizes is not None:
            warnings += tuple(self._model.organ_sizes.find_differences(sizes))
        return Result(
            encode_nifti(on_scan, np.uint8),
            f"{count} slices{placed.describe_rest()}, {', '.join(told)}, predicted Dice {quality.dice:.2f}"
            + (NO_DICOM if self._dicom and source is None else ""),
            {"input": placed.to_look_at(seen[shown]), "output": placed.to_look_at(labels[shown])},
            more=more,
            warnings=warnings,
            predicted_dice=quality.dice,
            title=title_of(placed.scan),
            shown=placed.tell_slice(shown),
        )

    def _encode_dicom(self, scan: Scan, source: Sequence[FileDataset], on_scan: MetaTensor) -> dict[str, bytes]:
        """The segmentation, and with it, where that is asked for, the scan's own images with outlines."""
        labels = np.moveaxis(on_scan.numpy(), -1, 0).astype(np.uint8)
        more = {_DICOM: encode_segmentation(source, labels, self.colours, self._model)}
        if self._overlay:
            images = np.moveaxis(scan.image.reader.read(scan.image.files)[0], -1, 0)
            how = "outlines in overlay planes, pixels as those of the source"
            files = encode_series(source, images, self._model, how, labels, self.organs)
            more |= {f"{_OVERLAY}/{place:04d}.dcm": content for place, content in enumerate(files, 1)}
        return more

    def _measure(self, on_scan: MetaTensor) -> dict[str, float]:
        """Millilitres of each organ on the scan's own voxels."""
        voxel = abs(float(np.linalg.det(on_scan.affine[:3, :3]))) / 1000
        values = on_scan.as_tensor()
        return {name: voxel * int((values == number).sum()) for number, name in enumerate(self.organs, 1)}

    def _tell(self, number: int, name: str, labels: np.ndarray, sizes: Mapping[str, float]) -> str:
        """On how many slices an organ is, and its size."""
        size = f" ({sizes[name]:.1f} ml)" if sizes else ""
        return f"{name} on {int((labels == number).any((1, 2)).sum())}{size}"
