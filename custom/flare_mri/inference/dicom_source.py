# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What results in DICOM take from the series that they were made of."""

from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import MRImageStorage

from flare_mri.errors import InputError
from flare_mri.extras import import_extra
from flare_mri.io.dicom_file import DicomReader, read_series
from flare_mri.io.scan import Scan

RESEARCH = "RESEARCH USE ONLY"
NO_DICOM = "; no DICOM, which the scan is not either"
"""End of a line of progress."""

_NEEDED = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
)
MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""Of the patient and the study: DICOM wants them, with a value or without."""
_MOST_SERIES_NUMBER = 20_000_000


def check_dicom_extra() -> None:
    """Raises InputError, with the command to install it, where highdicom is missing; before long work starts."""
    import_highdicom()


def import_highdicom(module: str = "highdicom") -> Any:
    """highdicom or a module of it, which take a second to import."""
    return import_extra("dicom", module, "results in DICOM")


def read_source(scan: Scan) -> list[FileDataset] | None:
    """Headers of a series in the order of its slices, without pixels; None where the scan is no DICOM.

    Raises:
        InputError: a series that cannot be read, or does not say to which study, series and place it belongs.
    """
    if not isinstance(scan.image.reader, DicomReader):
        return None
    files, headers = read_series(scan.image.files)
    for path, header in zip(files, headers, strict=True):
        missing = [name for name in _NEEDED if not header.get(name)]
        if header.get("SOPClassUID") != MRImageStorage:
            missing.append(f"SOP class {MRImageStorage.name}")
        if missing:
            raise InputError(
                f"{path}: expected {', '.join(missing)}, to which results in DICOM refer, got none; export the series "
                "again, or leave out --dicom"
            )
        del header.PixelData
        for name in MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, None)
        if not header.get("SliceThickness"):
            header.SliceThickness = f"{_find_distance(headers):.6g}"
    return headers


def _find_distance(headers: list[FileDataset]) -> float:
    """mm from the first slice to the next; 1 of a single one."""
    places = [np.array(header.ImagePositionPatient, float) for header in headers[:2]]
    return float(np.linalg.norm(places[-1] - places[0])) or 1.0


def title_of(scan: Scan) -> str:
    """Patient ID and series description of a DICOM series that was read; empty where it says neither, or is none."""
    if not isinstance(scan.image.reader, DicomReader):
        return ""
    wanted = ["PatientID", "SeriesDescription"]
    header = pydicom.dcmread(scan.image.files[0], stop_before_pixels=True, specific_tags=wanted)
    return ", ".join(str(header[name].value) for name in wanted if header.get(name))


def next_series_number(source: FileDataset, place: int) -> int:
    """Number of the series at a place, from 1, among those made of another, as scanners number theirs: 301 of 3."""
    number = int(source.get("SeriesNumber") or 0)
    return 100 * number + place if 0 < number < _MOST_SERIES_NUMBER else place


def describe_series(source: FileDataset, what: str) -> str:
    """Series Description of what is made of a series, at most 64 characters; it names the source's own."""
    return f"{RESEARCH}: {what} of {source.get('SeriesDescription') or 'a series'}"[:64].rstrip()
