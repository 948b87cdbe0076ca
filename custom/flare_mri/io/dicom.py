# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `dicom`: a folder a series of single-frame MR images, for reconstruction."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from flare_mri.config.data import RootedSettings, Texts
from flare_mri.files import reading
from flare_mri.io.dicom_file import DicomReader, read_dicom
from flare_mri.io.format import RECONSTRUCTION, Format, in_files
from flare_mri.io.listing import choose_entries, list_entries
from flare_mri.io.scan import Scan, ScanFile

GREY_16_BITS = {
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 0,
}
"""Attributes of pixels that are unsigned numbers of 16 bits."""


class DicomSettings(RootedSettings):
    """Settings of format `dicom`."""

    include: Texts = ()
    """patterns of series folders to take; none: all"""


def find_dicom(settings: DicomSettings) -> list[Scan]:
    """Scans of `<root>/<series>/*`, one volume a series.

    Files end in `.dcm`, `.ima`, a number (those named by a UID do) or nothing. The subject is the Patient ID of a
    series' first file (kept in memory only).
    """
    folders = list_entries(settings.root, Path.is_dir, "folders, one a DICOM series")
    scans = []
    for folder in choose_entries(folders, settings.include):
        files = tuple(list_entries(folder, _is_dicom, "DICOM files"))
        with reading(files[0]):
            subject = str(read_dicom(files[0], header_only=True).get("PatientID") or folder.name)
        scans.append(Scan(folder.name, subject, ScanFile(files, DicomReader())))
    return scans


def find_series(place: Path) -> list[Scan]:
    """New scans of DICOM files: a file, a series' folder, or a folder of these; none where others lie there.

    No header is read: what is wrong with a series, reading it says.
    """
    places = [place]
    if place.is_dir() and _first_dicom(place) is None:
        places = sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [
        Scan(found.stem if found.is_file() else found.name, found.name, ScanFile(files, DicomReader()))
        for found in places
        if _first_dicom(found) is not None
        for files in [tuple(list_entries(found, _is_dicom, "DICOM files"))]
    ]


def _first_dicom(place: Path) -> Path | None:
    """The first DICOM file of a series' folder, or the file itself; None where there is none."""
    paths = [place] if place.is_file() else sorted(path for path in place.iterdir() if not path.name.startswith("."))
    return next((path for path in paths if _is_dicom(path) and _begins_as_dicom(path)), None)


def sniff_dicom(folder: Path) -> bool:
    """Folders of files that begin as DICOM files do."""
    series = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return bool(series) and all(_first_dicom(path) is not None for path in series)


def _begins_as_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _is_dicom(path: Path) -> bool:
    named = path.suffix.lower() in (".dcm", ".ima", "") or path.suffix[1:].isdigit()
    return named and path.is_file() and path.name != "DICOMDIR"


def write_dicom_sample(folder: Path, rng: np.random.Generator) -> None:
    """Two series of four slices."""
    for series in ("flair", "t2"):
        for number in range(4):
            path = folder / series / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_dicom_slice(path, rng.integers(1, 1000, (20, 18)), ImagePositionPatient=[0, 0, 5 * number])


def write_dicom_slice(path: Path, pixels: np.ndarray, **tags: Any) -> None:
    """One MR slice [rows, columns] of whole numbers; a tag of None is left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    defaults = {
        "Modality": "MR",
        "PatientID": "P1",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        **GREY_16_BITS,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1, 1],
        "PixelData": pixels.astype("<u2").tobytes(),
    }
    for name, value in {**defaults, **tags}.items():
        if value is not None:
            setattr(image, name, value)
    image.save_as(path, enforce_file_format=True)


DICOM = Format("dicom", (RECONSTRUCTION,), DicomSettings, in_files(find_dicom), sniff_dicom, write_dicom_sample)
