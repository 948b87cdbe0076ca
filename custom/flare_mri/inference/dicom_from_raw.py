# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A DICOM study for images of a raw scan, of which there is none: its place and its patient, as the raw header says."""

from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from pydicom.dataset import FileDataset
from pydicom.uid import UID, MRImageStorage, generate_uid

from flare_mri.errors import InputError
from flare_mri.inference.dicom_source import MAY_BE_EMPTY
from flare_mri.io.raw.reader import geometry_of
from flare_mri.io.raw.scan import RawScan

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UPRIGHT = {0: "IPR", 1: "ILP", 2: "PLS"}
"""By the axis of RAS that slices lie along, where rows, columns and slices lead to: as scanners store them, upright."""


def check_can_be_dicom(where: str, scan: RawScan, patient: str) -> str:
    """The patient's ID; before long work it is seen that the scan says where it lies and whose it is.

    Args:
        where: the scan, for messages.
        scan: as it was read.
        patient: ID that was given; empty: the header's.

    Raises:
        InputError: it does not say so.
    """
    if scan.geometry is None:
        why = next((note for note in scan.notes if note.startswith("no geometry: ")), "the format has none")
        raise InputError(
            f"{where}: expected positions and directions for DICOM, got none ({why.removeprefix('no geometry: ')}); "
            "leave out --dicom"
        )
    if not patient and not scan.header.patient:
        raise InputError(f"{where}: expected a patient's ID for DICOM, got none in the header; give --patient_id")
    return patient or str(scan.header.patient)


def make_study(scan: RawScan, images: np.ndarray, patient: str, origin: str) -> tuple[list[FileDataset], np.ndarray]:
    """Headers of a new study, a slice each, and the images turned to them without a change of values.

    Args:
        scan: with a geometry.
        images: float32 [S, H, W] on its voxels.
        patient: ID.
        origin: name of the scan, for messages.

    Returns:
        Headers as :func:`~flare_mri.inference.dicom_source.read_source` gives those of a series, but of no image that
        is there, and the images [S, rows, columns].
    """
    geometry = geometry_of(scan)
    stored = io_orientation(geometry.matrix)
    turn = ornt_transform(stored, axcodes2ornt(tuple(_UPRIGHT[int(stored[2, 0])])))
    volume = apply_orientation(np.moveaxis(images, 0, -1), turn)
    affine = _TO_LPS @ geometry.matrix @ inv_ornt_aff(turn, geometry.shape)
    down, across, between = (float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    study, known, protocol = generate_uid(), scan.header.frame or "", scan.header.protocol
    frame = known if UID(known).is_valid else generate_uid()
    headers = []
    for number in range(volume.shape[2]):
        header = FileDataset(origin, {})
        for name in MAY_BE_EMPTY:
            setattr(header, name, None)
        header.StudyInstanceUID, header.PatientID = study, patient
        header.FrameOfReferenceUID = frame
        header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, generate_uid()  # without them highdicom copies none
        header.PositionReferenceIndicator = None
        header.SeriesDescription = protocol or Path(origin).stem
        header.ImagePositionPatient = _numbers(affine[:3, 3] + number * affine[:3, 2])
        header.ImageOrientationPatient = _numbers([*affine[:3, 1] / across, *affine[:3, 0] / down])
        header.PixelSpacing = _numbers([down, across])
        header.SliceThickness, header.SpacingBetweenSlices = _numbers([between, between])
        headers.append(header)
    return headers, np.moveaxis(volume, -1, 0)


def _numbers(values: object) -> list[str]:
    """Decimal strings of at most 16 characters."""
    return [f"{float(value):.9g}" if abs(value) > 1e-9 else "0" for value in np.asarray(values, np.float64)]
