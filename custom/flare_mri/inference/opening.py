# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""From a hospital's model and settings to what applies it, everything checked that can be before long work."""

from pathlib import Path

from flare_mri.config.site import SiteConfig
from flare_mri.errors import InputError
from flare_mri.inference.application import Application, Wanted
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.inference.raw_reconstruction import RawReconstructor
from flare_mri.inference.reconstruction import Reconstructor
from flare_mri.inference.segmentation import Segmenter
from flare_mri.io.formats import RECONSTRUCTION, SEGMENTATION, naming_site


def open_application(
    model: PersonalModel,
    config: SiteConfig,
    scans: Path | None = None,
    wanted: Wanted | None = None,
    look: bool = True,
) -> Application:
    """The model with the scans it is to be applied to; everything is checked that can be without reading an image.

    Args:
        model: a hospital's own.
        config: its settings, which say how scans become what the model knows.
        scans: new scans, a file or a folder, see :func:`flare_mri.inference.new_scans.find_new_scans`; None for the
            volumes that the settings name.
        wanted: beside the main file of each scan; None: nothing.
        look: False where the scans are still to come, see :meth:`~flare_mri.inference.application.Application.at`.

    Raises:
        InputError: settings without data of their own, for another task, no scan, or a state of another network.
    """
    wanted = wanted or Wanted()
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
        if wanted.undersampled and model.task == SEGMENTATION:
            raise InputError("undersampled: expected a model of reconstruction, got one of segmentation; omit it")
        application = _open(model, config, scans, wanted)
        if look:
            _ = application.scans
        return application


def _open(model: PersonalModel, config: SiteConfig, scans: Path | None, wanted: Wanted) -> Application:
    data = config.data if scans is None else config.data.model_copy(update={"root": scans})
    if model.task == RECONSTRUCTION and data.is_raw():
        return RawReconstructor(model, config, scans, wanted.undersampled, wanted.extra, wanted.dicom, wanted.patient)
    if wanted.patient:
        raise InputError("patient_id: expected raw scans with it, got images, which name their patient; leave it out")
    if wanted.extra:
        raise InputError(f"extra: expected a reconstruction of raw scans for {', '.join(wanted.extra)}; omit it")
    if model.task == SEGMENTATION:
        return Segmenter(model, config, scans, wanted.dicom, wanted.overlay)
    return Reconstructor(model, config, scans, wanted.undersampled, wanted.dicom)
