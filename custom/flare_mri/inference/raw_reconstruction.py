# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reconstruction of raw scans as the scanner stores them: with their own mask, coils, size and place."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.acquisition import MEASURED, SIMULATED, Acquisition
from flare_mri.datasets.pictures import upright_slice
from flare_mri.datasets.volumes import find_scans
from flare_mri.errors import InputError
from flare_mri.inference.application import Application, Result
from flare_mri.inference.arguments import EXTRA_IMAGES
from flare_mri.inference.dicom_from_raw import check_can_be_dicom, make_study
from flare_mri.inference.dicom_series import encode_series
from flare_mri.inference.dicom_source import check_dicom_extra
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.inference.placement import slices_to_nifti
from flare_mri.inference.raw_slices import RawSlices
from flare_mri.inference.reconstruction import score_images, tell_scores
from flare_mri.inference.scan_noise import estimate_noise
from flare_mri.inference.scan_numbers import Residual, relative_noise, spread_of_cascades
from flare_mri.io.formats import RECONSTRUCTION
from flare_mri.io.raw.format import find_raw
from flare_mri.io.raw.read import RAW_SUFFIXES
from flare_mri.io.raw.reader import geometry_of, raw_reader
from flare_mri.io.raw.scan import RawScan
from flare_mri.io.scan import Scan
from flare_mri.networks import UnrolledNetwork
from flare_mri.progress import with_progress
from flare_mri.training.build import resolve_device
from flare_mri.training.reconstruction import reconstruct
from flare_mri.training.scanner_units import restore_units
from flare_mri.training.task import on_device
from flare_mri.transforms.masks import make_mask

BATCH = 4
"""The most slices in a batch."""
_NUMBERS, _DICOM = "_reconstruction.json", "_reconstruction_dicom"
_FAR, _MUCH = 2.0, 0.1  # a residual by that factor and that much above the noise; trained models are within 1.3 times


Images = defaultdict[str, list[np.ndarray]]  # by name, a batch of slices each, in the scanner's units


class RawReconstructor(Application):
    """Reconstructs raw scans: undersampled ones as they are, fully sampled ones after the site's mask, with scores.

    Which of the two a file is it says itself. A scan that differs from what the model learned from is done with a
    warning that says how. Coil sensitivities come from the centre of k-space that is used, where the
    network takes some.

    Args:
        model: of a reconstruction job.
        config: the site's settings: mask, device, how coil sensitivities are found.
        scans: folder of raw scans of any format; None for those that the site's own settings name.
        undersampled: fully sampled scans, too, are taken as they are, without scores.
        extra: names of :data:`EXTRA_IMAGES`.
        dicom: also write the magnitudes as the DICOM series of a new study.
        patient: ID in it; empty: the one that the scan's header names.

    Raises:
        InputError: a state that does not fit the network, extra images that it does not have, or no package for DICOM.
    """

    ending = "_reconstruction.nii.gz"

    def __init__(
        self,
        model: PersonalModel,
        config: SiteConfig,
        scans: Path | None = None,
        undersampled: bool = False,
        extra: Sequence[str] = (),
        dicom: bool = False,
        patient: str = "",
    ):
        super().__init__(scans)
        self._config, self._model, self._undersampled = config, model, undersampled
        self._device = resolve_device(config.device, config.site, config.file)
        self._network = model.build().to(self._device)
        method: str = config.data.sensitivities  # type: ignore[attr-defined]
        self._sensitivities = method if "sensitivities" in getattr(self._network, "sample_keys", ()) else None
        if extra and not isinstance(self._network, UnrolledNetwork):
            raise InputError(
                f"extra: expected a network of complex images (UnrolledNetwork) for {', '.join(extra)}, got "
                f"{type(self._network).__name__}, which gives magnitudes; leave it out"
            )
        self.extra = tuple(name for name in EXTRA_IMAGES if name in extra)
        self.more_endings = (_NUMBERS, *(f"_{name}.nii.gz" for name in self.extra))
        self._dicom, self._patient = dicom, patient
        if dicom:
            check_dicom_extra()
            self.more_endings += (_DICOM,)

    def _find(self, place: Path | None) -> list[Scan]:
        if place is None:
            return find_scans(self._config, RECONSTRUCTION)
        return find_raw(place, (), RAW_SUFFIXES, "raw scans (" + ", ".join(RAW_SUFFIXES) + ")")

    def apply(self, number: int) -> Result:
        """Reconstruction of all slices of one scan, with its numbers, and scores where it is fully sampled.

        Raises:
            InputError: a scan that cannot be read, a mask whose centre is too small for coil sensitivities, or one that
                does not say for DICOM where it lies or whose it is.
        """
        found = self.scans[number]
        reader = raw_reader(found)
        scan = reader.read_raw(found.files)
        patient = check_can_be_dicom(found.origin, scan, self._patient) if self._dicom else ""
        if self._undersampled:
            scan = replace(scan, target=None)
        masks = np.asarray(scan.mask)
        undersample = scan.target is not None and scan.fully_sampled
        if undersample:
            chosen = make_mask(self._config.mask, (masks.shape[1], masks.shape[2]))
            masks = masks & chosen
        residual, batches = Residual(), Images(list)
        try:
            loader = DataLoader(RawSlices(scan, masks, self._sensitivities), batch_size=BATCH)
            for batch in with_progress(loader, found.name, "batch"):
                self._reconstruct(on_device(batch, self._device), batches, residual)
        except InputError as error:
            raise InputError(f"{found.origin}: {error}") from None
        images = {name: np.concatenate(parts) for name, parts in batches.items()}
        target, middle = scan.target, len(masks) // 2
        pictures = {"input": images["zero_filled"][middle], "output": images["reconstruction"][middle]}
        scores = {}
        if target is not None:
            pictures["target"] = target[middle]
            scores = {name: score_images(images[name], target) for name in ("zero_filled", "reconstruction")}
        if scan.geometry is not None:
            pictures = {name: upright_slice(part, scan.geometry, 2) for name, part in pictures.items()}
        contrast = reader.find_contrast(found.files)
        acquisition = _find_acquisition(scan, masks, reader.simulated, (contrast,) if contrast else ())
        measured = _measure(scan, masks, residual.value())
        warnings = [*self._find_warnings(acquisition), *_doubt(measured)]
        numbers = {**acquisition.as_dict(), **measured, "scores": scores}
        numbers |= {"centre": replace(scan, mask=masks).centre, "warnings": warnings, "notes": list(scan.notes)}
        more = {_NUMBERS: (json.dumps(_without_nan(numbers), indent=2) + "\n").encode()}
        affine = geometry_of(scan).matrix
        more |= {f"_{name}.nii.gz": slices_to_nifti(images[name], affine) for name in self.extra}
        if self._dicom:
            headers, turned = make_study(scan, images["reconstruction"], patient, found.origin)
            sampled = "fully sampled and undersampled afterwards" if undersample else "undersampled"
            how = f"from raw k-space, {sampled}"
            files = encode_series(headers, turned, self._model, how)
            more |= {f"{_DICOM}/{place:04d}.dcm": content for place, content in enumerate(files, 1)}
        text = _describe(scan, numbers, undersample) + tell_scores(scores)
        text += "" if scan.geometry is not None else "; the scan does not say where it lies, nor does the result"
        scored = scores.get("reconstruction", {})
        shown = f"slice {middle + 1} of {len(masks)}"
        content = slices_to_nifti(images["reconstruction"], affine)
        return Result(content, text, pictures, scored, more, tuple(warnings), shown=shown)

    def _reconstruct(self, batch: dict[str, Any], images: Images, residual: Residual) -> None:
        """Add a batch's images [B, H, W] and what they leave of the measurement."""
        images["zero_filled"].append(restore_units(batch, batch["image"]))
        network = self._network
        with torch.inference_mode():
            if not isinstance(network, UnrolledNetwork):
                images["reconstruction"].append(restore_units(batch, reconstruct(network, batch)))
                return
            kspace, mask = batch["kspace"], batch["mask"]
            maps = network.find_sensitivities(kspace, mask, batch.get("sensitivities"))
            cascades = network.run_cascades(kspace, mask, maps)
            magnitude = network.find_magnitude(cascades[-1], kspace, mask, maps)
            residual.add(cascades[-1], maps, batch)
        scale = batch["scale"].view(-1, 1, 1, 1)
        wanted: dict[str, Callable[[], Tensor]] = {
            "complex": lambda: cascades[-1] * scale,
            "phase": lambda: cascades[-1].angle(),
            "uncertainty": lambda: spread_of_cascades(cascades) * scale,
        }
        images["reconstruction"].append((magnitude * scale)[:, 0].cpu().numpy())
        for name in self.extra:
            images[name].append(wanted[name]()[:, 0].cpu().numpy())

    def _find_warnings(self, acquisition: Acquisition) -> list[str]:
        if self._model.acquisition is None:
            return ["the model does not say from which acquisitions it learned; nothing is compared"]
        return acquisition.find_differences(self._model.acquisition)


def _find_acquisition(scan: RawScan, masks: np.ndarray, simulated: bool, contrasts: tuple[str, ...]) -> Acquisition:
    height, width = masks.shape[1:]
    field = None if scan.field_of_view is None else scan.field_of_view[:2]
    kspace = SIMULATED if simulated else MEASURED
    return Acquisition(kspace, scan.kspace.shape[1], (height, width), 1 / float(masks.mean()), field, contrasts)


def _measure(scan: RawScan, masks: np.ndarray, residual: float) -> dict[str, float]:
    """Noise of a sample of k-space, and of what was used of it the parts that are noise and that images leave."""
    noise = estimate_noise(scan.kspace, scan.mask)
    return {"noise": noise, "relative_noise": relative_noise(noise, scan.kspace, masks), "residual": residual}


def _doubt(measured: dict[str, float]) -> list[str]:
    """A line where the image leaves far more of the measurement than noise; none where that is not known."""
    residual, noise = measured["residual"], measured["relative_noise"]
    if not residual > max(_FAR * noise, noise + _MUCH):
        return []
    told = f"residual {100 * residual:.0f} %, of which noise explains {100 * noise:.0f} %"
    return [f"{told}: the image does not fit what was measured; look at the mask, the coils and the model"]


def _describe(scan: RawScan, numbers: dict[str, Any], undersample: bool) -> str:
    slices, coils, height, width = scan.kspace.shape
    several = "" if slices == 1 else "s"
    words = [f"{slices} slice{several} of {height}x{width}, {coils} coil{'s' * (coils > 1)}"]
    words.append(f"acceleration {numbers['acceleration']:.1f}")
    words.append("fully sampled, undersampled here" if undersample else "undersampled")
    if not math.isnan(numbers["residual"]):
        words.append(f"residual {100 * numbers['residual']:.1f} % (noise {100 * numbers['relative_noise']:.1f} %)")
    return ", ".join(words)


def _without_nan(numbers: dict[str, Any]) -> dict[str, Any]:
    """The numbers with None for those that are not known, which JSON has no other word for."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in numbers.items()}
