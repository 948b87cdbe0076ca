# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A DICOM series of a phantom, and small models for it."""

from pathlib import Path
from typing import Any

import numpy as np

from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.io.dicom import write_dicom_slice
from flare_mri.networks import build_network
from flare_mri.training import SiteStore

STUDY, SERIES, FRAME = "1.2.840.99.1", "1.2.840.99.1.1", "1.2.840.99.1.7"
COSINES = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]  # slanted: no axis of the patient
FIRST, STEP, SPACING = np.array([10.0, -40.0, 60.0]), np.array([-1.8, 2.4, 0.0]), [0.9, 1.1]
SHAPE = (6, 20, 28)

UNET = "flare_mri.networks.unet.UNet"
SEGMENTATION: dict[str, Any] = {
    "path": UNET,
    "args": {"in_channels": 3, "out_channels": 3, "norm": "batch", "channels": 4, "num_pools": 2},
}
RECONSTRUCTION: dict[str, Any] = {"path": UNET, "args": {"channels": 4, "num_pools": 2}}


def write_series(folder: Path, series: str = SERIES, **tags: Any) -> list[str]:
    """An ellipsoid in noise; names of files do not follow the slices. Returns the SOP Instance UIDs in their order."""
    folder.mkdir(parents=True)
    at = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    inside = (at**2).sum(0) < 0.6
    pixels = (np.random.default_rng(0).integers(1, 400, SHAPE) + 1500 * inside).astype(np.uint16)
    uids = [f"{series}.{number + 1}" for number in range(len(pixels))]
    for number, values in enumerate(pixels):
        given = {
            "StudyInstanceUID": STUDY,
            "SeriesInstanceUID": series,
            "SOPInstanceUID": uids[number],
            "FrameOfReferenceUID": FRAME,
            "SeriesNumber": 3,
            "PatientName": "Müller^Änne",
            "SpecificCharacterSet": "ISO_IR 100",
            "PatientID": "P-17",
            "PatientBirthDate": "19700102",
            "StudyDate": "20260102",
            "StudyID": "S9",
            "EchoTime": 90,
            "ImageOrientationPatient": COSINES,
            "ImagePositionPatient": [round(float(mm), 4) for mm in FIRST + number * STEP],
            "PixelSpacing": SPACING,
            **tags,
        }
        write_dicom_slice(folder / f"{(5 * number + 3) % 7}.dcm", values, **given)
    return uids


def write_model(folder: Path, task: str) -> list[str]:
    """A personal model and its settings in a folder; the words of a command that name them."""
    spec = SEGMENTATION if task == "segmentation" else RECONSTRUCTION
    plan = SegmentationPlan(organs=("liver", "zone_a")) if task == "segmentation" else SegmentationPlan()
    state = build_network(spec, 4).state_dict()
    if task == "segmentation":
        state["decoder.output.bias"].zero_()  # all classes are found
    model = PersonalModel("job", "site-1", task, spec, state, (32, 32), ("RAS",), plan=plan)
    store = SiteStore(folder / "store", task, model.site)
    store.save_model(PERSONAL_FILE, model.state, model.description())
    (folder / "own").mkdir(exist_ok=True)
    form = "prostate, colours: {zone_a: '#ff0000'}" if task == "segmentation" else "nifti"
    site = folder / f"{task}.yaml"
    site.write_text(f"data: {{format: {form}, root: own, spatial_size: [32, 32]}}\n")
    return [str(store.path(PERSONAL_FILE)), "--site", str(site)]
