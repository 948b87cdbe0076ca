# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""DICOM series of single-frame MR images."""

from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_rescale

from flare_mri.data.site_config import DataSettings
from flare_mri.data.source import Source, chosen, listed, reading
from flare_mri.errors import InputError


def find_dicom(settings: DataSettings) -> list[Source]:
    """Finds `<root>/<series>/*`, one volume a series; `contrasts` are patterns of series folders.

    Files end in `.dcm` or in nothing. The subject is the Patient ID of a series' first file (kept in memory only).
    """
    folders = chosen(listed(settings.root, Path.is_dir, "folders, one a DICOM series"), settings.contrasts)
    sources = []
    for folder in folders:
        files = tuple(listed(folder, _is_dicom, "DICOM files"))
        subject = str(_read(files[0], header_only=True).get("PatientID") or folder.name)
        sources.append(Source(folder.name, subject, files, partial(read_dicom, files, settings)))
    return sources


def read_dicom(files: tuple[Path, ...], settings: DataSettings) -> np.ndarray:
    """Reads one series.

    Slices are ordered by their position along the slice normal (Image Position and Orientation), else by Instance
    Number, else by file name; rescale slope and intercept are applied.

    Args:
        files: the series, one slice a file.
        settings: `slices` are taken in that order.

    Returns:
        float32 [S, H, W].

    Raises:
        InputError: a file is no DICOM, not MR, cut short, in colour, multi-frame or of another size than the first;
            or two files lie at one position.
    """
    headers = [_checked(path) for path in files]
    sizes = [(header.Rows, header.Columns) for header in headers]
    for path, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise InputError(
                f"{path}: expected {sizes[0][0]}x{sizes[0][1]} as in {files[0].name}, got {size[0]}x{size[1]}; "
                "keep one series a folder"
            )
    places = _places(headers, files)
    order = sorted(range(len(files)), key=places.__getitem__)
    for one, other in zip(order, order[1:], strict=False):
        if places[one] == places[other]:
            raise InputError(
                f"{files[other]}: expected one image a position, got the position of {files[one].name}; "
                "keep one series (one echo, one time) a folder"
            )
    slices = []
    for index in order:
        with reading(files[index]):
            slices.append(np.asarray(apply_rescale(headers[index].pixel_array, headers[index]), np.float32))
    return np.stack(slices)[list(settings.slices.indices(len(slices)))]


def _is_dicom(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".dcm", "") and path.name != "DICOMDIR"


def _read(path: Path, header_only: bool = False) -> pydicom.FileDataset:
    try:
        with reading(path):
            return pydicom.dcmread(path, stop_before_pixels=header_only)
    except InvalidDicomError as error:
        raise InputError(f"{path}: expected a DICOM file, got another format; take it out of the folder") from error


def _checked(path: Path) -> pydicom.FileDataset:
    header = _read(path)
    if header.get("Modality") != "MR":
        raise InputError(f"{path}: expected modality MR, got {header.get('Modality')}; take the series out")
    missing = [name for name in ("Rows", "Columns", "PixelData") if name not in header]
    if missing:
        raise InputError(f"{path}: expected an image, got none ({', '.join(missing)} missing); take the file out")
    frames, samples = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel", 1))
    if frames > 1 or samples > 1:
        raise InputError(
            f"{path}: expected one grey frame a file, got {frames} frames of {samples} samples; "
            "convert enhanced multi-frame DICOM to NIfTI and use format nifti"
        )
    return header


def _places(headers: list[pydicom.FileDataset], files: tuple[Path, ...]) -> list[float]:
    """What orders a series: position in mm along the slice normal, else the instance number, else the file's place."""
    if all("ImagePositionPatient" in header and "ImageOrientationPatient" in header for header in headers):
        cosines = np.array(headers[0].ImageOrientationPatient, float)
        normal = np.cross(cosines[:3], cosines[3:])
        return [round(float(normal @ np.array(header.ImagePositionPatient, float)), 3) for header in headers]
    if all(header.get("InstanceNumber") is not None for header in headers):
        return [float(header.InstanceNumber) for header in headers]
    return [float(place) for place in range(len(files))]
