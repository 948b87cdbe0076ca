# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""From a hospital's model and settings to what applies it, everything checked that can be before long work."""

from collections.abc import Sequence
from pathlib import Path

from flare_mri.config.site import SiteConfig
from flare_mri.errors import InputError
from flare_mri.inference.application import Application
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.inference.raw_reconstruction import RawReconstructor
from flare_mri.inference.reconstruction import Reconstructor
from flare_mri.inference.segmentation import Segmenter
from flare_mri.io.formats import RECONSTRUCTION, SEGMENTATION, naming_site


def open_application(
    model: PersonalModel,
    config: SiteConfig,
    scans: Path | None = None,
    undersampled: bool = False,
    extra: Sequence[str] = (),
    dicom: bool = False,
    patient: str = "",
    look: bool = True,
) -> Application:
    """The model with the scans it is to be applied to; everything is checked that can be without reading an image.

    Args:
        model: a hospital's own.
        config: its settings, which say how scans become what the model knows.
        scans: new scans, a file or a folder, see :func:`flare_mri.inference.new_scans.find_new_scans`; None for the
            volumes that the settings name.
        undersampled: for reconstruction, see :class:`~flare_mri.inference.reconstruction.Reconstructor`.
        extra: for reconstruction of raw scans, see
            :class:`~flare_mri.inference.raw_reconstruction.RawReconstructor`.
        dicom: also write DICOM where the scan is DICOM, or raw.
        patient: ID in DICOM of raw scans; empty: the one that each header names.
        look: False where the scans are still to come, see :meth:`~flare_mri.inference.application.Application.at`.

    Raises:
        InputError: settings without data of their own, for another task, no scan, or a state of another network.
    """
    with naming_site(config.site):
        if config.members:
            raise InputError(f"{config.file} has pooled_sites, which is for simulated sites; give those of one")
        if (scans is not None or not look) and config.data.find_root() is None:
            raise InputError(
                f"data.format: {config.data.format} takes no folder; give a site.yaml of scans with the model's "
                "spatial_size (docs/how-to/apply-a-model.md shows one), or no scans"
            )
        if scans is not None and not scans.exists():
            raise InputError(f"scans: expected a file or a folder, got {scans}, which is none; correct the path")
        if undersampled and model.task == SEGMENTATION:
            raise InputError("undersampled: expected a model of reconstruction, got one of segmentation; omit it")
        application = _open(model, config, scans, undersampled, extra, dicom, patient)
        if look:
            _ = application.scans
        return application


def _open(
    model: PersonalModel,
    config: SiteConfig,
    scans: Path | None,
    undersampled: bool,
    extra: Sequence[str],
    dicom: bool,
    patient: str,
) -> Application:
    data = config.data if scans is None else config.data.model_copy(update={"root": scans})
    if model.task == RECONSTRUCTION and data.is_raw():
        return RawReconstructor(model, config, scans, undersampled, extra, dicom, patient)
    if patient:
        raise InputError("patient_id: expected raw scans with it, got images, which name their patient; leave it out")
    if extra:
        raise InputError(f"extra: expected a reconstruction of raw scans for {', '.join(extra)}; omit it")
    if model.task == SEGMENTATION:
        return Segmenter(model, config, scans, dicom)
    return Reconstructor(model, config, scans, undersampled, dicom)
