# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reconstruction of new scans: magnitudes as NIfTI and DICOM, on the voxels of the scan itself."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.reconstruction_slices import ReconstructionDataset
from flare_mri.datasets.volumes import find_scans
from flare_mri.errors import InputError
from flare_mri.inference.application import Application, Result
from flare_mri.inference.dicom_series import encode_series
from flare_mri.inference.dicom_source import NO_DICOM, check_dicom_extra, read_source, title_of
from flare_mri.inference.new_scans import find_new_scans
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.inference.placement import encode_nifti, place_scan
from flare_mri.io.formats import RECONSTRUCTION, check_task
from flare_mri.io.scan import Scan
from flare_mri.metrics.reconstruction import VolumeMetrics
from flare_mri.networks import sample_keys
from flare_mri.progress import with_progress
from flare_mri.training.build import resolve_device
from flare_mri.training.reconstruction import reconstruct
from flare_mri.training.scanner_units import restore_units
from flare_mri.training.task import on_device
from flare_mri.transforms.masks import make_mask

_BATCH = 8
_DICOM = "_reconstruction_dicom"


class Reconstructor(Application):
    """Reconstructs scans as the model did at the site.

    Args:
        model: of a reconstruction job.
        config: the site's settings: format, spatial size, mask, device.
        scans: new scans, see :func:`~flare_mri.inference.new_scans.find_new_scans`; None for the volumes that the
            site's own settings name.
        undersampled: the scans are already undersampled, and their images zero-filled: nothing is masked or scored.
            Otherwise they are taken as fully sampled, undersampled with the site's mask, and scored.
        dicom: of a DICOM series also write the images as a DICOM series.

    Raises:
        InputError: data of another task, a state that does not fit the network, undersampled scans for a network that
            needs the k-space they were measured in, or no package for DICOM.
    """

    ending = "_reconstruction.nii.gz"

    def __init__(
        self,
        model: PersonalModel,
        config: SiteConfig,
        scans: Path | None = None,
        undersampled: bool = False,
        dicom: bool = False,
    ):
        super().__init__(scans)
        check_task(config.data.format, RECONSTRUCTION)
        self._config, self._undersampled, self._dicom = config, undersampled, dicom
        if dicom:
            check_dicom_extra()
            self.more_endings = (_DICOM,)
        self._device = resolve_device(config.device, config.site, config.file)
        self._model = model
        self._network = model.build().to(self._device)
        self._keys = sample_keys(model.network) or ("image",)
        if undersampled and "mask" in self._keys:
            raise InputError(
                "undersampled: expected a network that works on images, got one that needs the mask of each scan; "
                "apply it to fully sampled scans"
            )

    def _find(self, place: Path | None) -> list[Scan]:
        if place is None:
            return find_scans(self._config, RECONSTRUCTION)
        return find_new_scans(self._config.data, self._config.site, RECONSTRUCTION, place)

    def apply(self, number: int) -> Result:
        """Reconstruction of all slices of one scan, with scores where it is fully sampled.

        Raises:
            InputError: a scan that cannot be read, of another size, or a mask that does not fit it.
        """
        source = read_source(self.scans[number]) if self._dicom else None
        placed = place_scan(self.scans[number], self._model, self._config.data)
        target = placed.slices
        shape = target.shape[1], target.shape[2]
        mask = np.ones(shape, bool) if self._undersampled else make_mask(self._config.mask, shape)
        places = [(0, index) for index in range(len(target))]
        loader = DataLoader(
            ReconstructionDataset([target], {target.shape[1:]: mask}, places, self._keys), batch_size=_BATCH
        )
        zero_filled, outputs = [], []
        for batch in with_progress(loader, self.names[number], "batch"):
            batch = on_device(batch, self._device)
            with torch.inference_mode():
                outputs.append(restore_units(batch, reconstruct(self._network, batch)))
            zero_filled.append(restore_units(batch, batch["image"]))
        images = {"zero_filled": np.concatenate(zero_filled), "reconstruction": np.concatenate(outputs)}
        scores = {} if self._undersampled else {name: score_images(image, target) for name, image in images.items()}
        middle = len(target) // 2
        pictures = {"input": images["zero_filled"][middle], "output": images["reconstruction"][middle]}
        if scores:
            pictures["target"] = target[middle]
        pictures = {name: placed.to_look_at(part) for name, part in pictures.items()}
        on_scan = placed.to_scan(images["reconstruction"], nearest=False)
        more = {}
        if source is not None:
            how = "from zero-filled images" if self._undersampled else "from images that were undersampled afterwards"
            files = encode_series(source, np.moveaxis(on_scan.numpy(), -1, 0), self._model, how)
            more = {f"{_DICOM}/{place:04d}.dcm": content for place, content in enumerate(files, 1)}
        return Result(
            encode_nifti(on_scan, np.float32),
            f"{len(target)} slices{placed.describe_rest()}{tell_scores(scores)}"
            + (NO_DICOM if self._dicom and source is None else ""),
            pictures,
            scores.get("reconstruction", {}),
            more,
            title=title_of(placed.scan),
            shown=placed.tell_slice(middle),
        )


def score_images(images: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Metrics of a volume [S, H, W] against the fully sampled one, as of a site's test volumes."""
    metrics = VolumeMetrics()
    for prediction, truth in zip(images, target, strict=True):
        metrics.add(0, prediction, truth)
    return metrics.aggregate()


def tell_scores(scores: Mapping[str, Mapping[str, float]]) -> str:
    """End of a line of progress: scores of `reconstruction`, and of `zero_filled` before; empty without scores."""
    if not scores:
        return ""
    before, after = scores["zero_filled"], scores["reconstruction"]
    gain = f"PSNR {after['psnr']:.2f} dB (zero-filled {before['psnr']:.2f})"
    return f", {gain}, SSIM {after['ssim']:.3f} ({before['ssim']:.3f})"
