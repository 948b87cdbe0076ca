# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of new scans: labels as NIfTI, on the voxels of the scan itself."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.labelled import LabelledVolume, find_cases, find_grid, read_slices
from flare_mri.datasets.segmentation import SegmentationDataset, SliceImages
from flare_mri.errors import InputError
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.inference.result import Result
from flare_mri.io.cases import Case, is_slice
from flare_mri.io.formats import SEGMENTATION, check_task
from flare_mri.io.nifti_file import open_nifti
from flare_mri.io.orientation import orientation
from flare_mri.io.readers_prostate import find_unlabelled
from flare_mri.routing import MIN_SLICES, predict
from flare_mri.training.build import resolve_device


class Segmenter:
    """Marks the organ in scans, as the model did at the site: slices with neighbours, the volume z-scored.

    Args:
        model: of a segmentation job.
        config: the site's settings: slice axis, matrix, fit, device.
        scans: folder of NIfTI files; None for the volumes that the site's own settings name. Labels are not read.

    Raises:
        InputError: data of another task, no scan, or a state that does not fit the network.
    """

    ending = "_segmentation.nii.gz"
    outlined = True

    def __init__(self, model: PersonalModel, config: SiteConfig, scans: Path | None = None):
        check_task(config.data.format, SEGMENTATION)
        self._data = config.data if scans is None else replace(config.data, root=scans)
        cases = find_cases(config) if scans is None else find_unlabelled(self._data)
        self._cases = [replace(case, label=None) for case in cases]
        self.names = [case.name for case in self._cases]
        self._network = model.build().to(resolve_device(config.device, config.site, config.file))
        self._model = model

    def apply(self, number: int) -> Result:
        """Labels of all slices of one scan.

        Raises:
            InputError: a scan that cannot be read, of another orientation or matrix, or too few slices for a routed
                network's statistics.
        """
        case = self._cases[number]
        grid = find_grid(case, self._data)
        self._model.check_knows(case.origin, grid.matrix, orientation(case.files))
        count = len(grid.kept)
        if self._model.experts and count < MIN_SLICES:
            raise InputError(
                f"{case.origin}: expected at least {MIN_SLICES} slices, whose statistics a routed model uses, got "
                f"{count}; leave this scan out"
            )
        slices = read_slices(case, self._data, grid)
        volume = LabelledVolume(case.name, "", False, grid, slices)
        images = SliceImages(SegmentationDataset([volume], [(0, index) for index in range(count)]))
        labels = predict(self._network, images, self._model.batch_size).argmax(1).numpy().astype(np.uint8)
        native = grid.to_native(labels)
        shown = int(labels.sum((1, 2)).argmax())
        millilitres = native.sum() * float(np.prod(grid.spacing)) / 1000
        size = f", {millilitres:.1f} ml" if _header(case) is not None else ""
        return Result(
            _nifti(native, case),
            f"{count} slices, organ on {int(labels.any((1, 2)).sum())}{size}",
            {"input": slices[shown, 0], "output": labels[shown]},
        )


def _header(case: Case) -> Nifti1Header | None:
    """The header of the scan's file; None for stacks of single slices and the phantom, whose place is not known."""
    if not case.files or is_slice(case.files[0]):
        return None
    return open_nifti(case.files[0], axes=(3,)).header


def _nifti(labels: np.ndarray, case: Case) -> bytes:
    """The labels as ``.nii.gz``, where in the patient the scan lies."""
    header = _header(case)
    if header is None:
        image = Nifti1Image(labels, np.eye(4))
    else:
        header = header.copy()
        header.set_data_dtype(np.uint8)
        header["cal_min"], header["cal_max"], header["descrip"] = 0, 1, b"flare-mri"
        image = (Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image)(labels, None, header)
    return gzip.compress(image.to_bytes(), mtime=0)
