# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Series of DICOM files: order and place of their slices, and their voxels, read within bounds."""

import math
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_rescale
from pydicom.uid import DeflatedExplicitVRLittleEndian

from flare_mri.errors import InputError
from flare_mri.files import DEFLATE_RATIO, MOST_SLICE_VALUES, MOST_VOXELS, read_bytes, reading
from flare_mri.io.dicom_checks import check_decodable, check_one_acquisition, check_positions
from flare_mri.io.scan import Geometry, ScanReader, is_usable_affine

_MOST_FILE = 2**29  # bytes
MOST_SERIES = 2**31
_DEFLATED = DeflatedExplicitVRLittleEndian.encode()
_RAS = np.diag([-1.0, -1.0, 1.0])  # DICOM's patient coordinates are LPS


class DicomReader(ScanReader):
    """Reads one series as [rows, columns, slices].

    Slices are ordered by their position along the slice normal (Image Position and Orientation), else by Instance
    Number, else by file name; rescale slope and intercept are applied.
    """

    def geometry(self, files: tuple[Path, ...]) -> Geometry:
        """Size of the series, and its affine where every file says where it lies.

        Raises:
            InputError: as :meth:`read`.
        """
        return _find_geometry(read_series(files)[1])

    def read(self, data: Any, **kwargs: Any) -> tuple[np.ndarray, Geometry]:
        """Voxels float32 [rows, columns, slices] of a series, one slice a file, and where they lie.

        Raises:
            InputError: as :func:`read_series`, or pixels cannot be decoded.
        """
        files, headers = read_series(data)
        voxels = np.stack([_decode_pixels(*file) for file in zip(files, headers, strict=True)], axis=-1)
        return voxels, _find_geometry(headers)


def read_series(files: tuple[Path, ...]) -> tuple[list[Path], list[pydicom.FileDataset]]:
    """The files of a series in the order of their slices, and what they hold, checked; no pixel is decoded yet.

    Raises:
        InputError: a file is no DICOM, not MR, cut short, in colour, multi-frame, of another size than the first or
            packed in a way that no package here knows; the files are no one acquisition at even positions along its
            normal; or they hold more than a volume or its files may.
    """
    headers = _read_headers(files)
    check_one_acquisition(files, headers)
    order = _order(headers, files)
    ordered = [files[index] for index in order], [headers[index] for index in order]
    with reading(files[0].parent, "correct the positions of this series, or take it out"):
        check_positions(*ordered)
    return ordered


def read_dicom(path: Path, header_only: bool = False) -> pydicom.FileDataset:
    """One DICOM file; its pixels are not decoded yet.

    Args:
        path: of the file.
        header_only: leaves the pixels out.

    Raises:
        InputError: the file is no DICOM, or holds more than 512 MiB.
    """
    content = read_bytes(path, _MOST_FILE, "leave the file out")
    if _DEFLATED in content and len(content) * DEFLATE_RATIO > _MOST_FILE:  # pydicom would inflate it without a bound
        raise InputError(f"{path}: expected a deflated file of at most {_MOST_FILE // DEFLATE_RATIO} bytes; inflate it")
    with reading(path):
        try:  # from memory: a length in a file may be 4 GiB, and reading that much takes the memory first
            found = pydicom.dcmread(BytesIO(content), stop_before_pixels=header_only)
            found.filename = str(path)
            return found
        except InvalidDicomError as error:
            raise InputError(f"{path}: expected a DICOM file, got another format; take it out of the folder") from error


def _read_headers(files: tuple[Path, ...]) -> list[pydicom.FileDataset]:
    """All files of a series, checked, before any pixel is decoded."""
    _check_files(files)
    headers = []
    for path in files:
        with reading(path):
            headers.append(_read_checked(path))
    sizes = [(header.Rows, header.Columns) for header in headers]
    for path, size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            raise InputError(
                f"{path}: expected {sizes[0][0]}x{sizes[0][1]} as in {files[0].name}, got {size[0]}x{size[1]}; "
                "keep one series a folder"
            )
    if len(files) * sizes[0][0] * sizes[0][1] > MOST_VOXELS:
        raise InputError(
            f"{files[0].parent}: expected at most {MOST_VOXELS} voxels in a series, got {len(files)} files of "
            f"{sizes[0][0]}x{sizes[0][1]}; divide the series into several folders"
        )
    return headers


def _check_files(files: tuple[Path, ...]) -> None:
    """A series is kept in memory until its order is known."""
    with reading(files[0].parent):
        total = sum(path.stat().st_size for path in files)
    if total > MOST_SERIES:
        raise InputError(
            f"{files[0].parent}: expected at most {MOST_SERIES} bytes in a series, got {total}; "
            "divide the series into several folders"
        )


def _read_checked(path: Path) -> pydicom.FileDataset:
    header = read_dicom(path)
    if header.get("Modality") != "MR":
        raise InputError(f"{path}: expected modality MR, got {header.get('Modality')}; take the series out")
    missing = [name for name in ("Rows", "Columns", "PixelData") if name not in header]
    if missing:
        raise InputError(f"{path}: expected an image, got none ({', '.join(missing)} missing); take the file out")
    frames, samples = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel", 1))
    if frames != 1 or samples != 1:
        raise InputError(
            f"{path}: expected one grey frame a file, got {frames} frames of {samples} samples; "
            "convert enhanced multi-frame DICOM to NIfTI and use format nifti"
        )
    rows, columns = header.Rows, header.Columns
    if type(rows) is not int or type(columns) is not int or not 0 < rows * columns <= MOST_SLICE_VALUES:
        raise InputError(
            f"{path}: expected Rows x Columns of 1 to {MOST_SLICE_VALUES} pixels, got {rows} x {columns}; "
            "export the file again or take it out"
        )
    check_decodable(path, header)
    return header


def _order(headers: list[pydicom.FileDataset], files: tuple[Path, ...]) -> list[int]:
    """Numbers of the files in the order of their slices."""
    with reading(files[0].parent, "correct positions or instance numbers of this series, or take it out"):
        places = _places(headers, files)
    for path, place in zip(files, places, strict=True):
        if not math.isfinite(place):
            raise InputError(f"{path}: expected a position in mm, got {place}; export the file again or take it out")
    order = sorted(range(len(files)), key=places.__getitem__)
    for one, other in pairwise(order):
        if places[one] == places[other]:
            raise InputError(
                f"{files[other]}: expected one image a position, got the position of {files[one].name}; "
                "keep one series (one echo, one time) a folder"
            )
    return order


def _places(headers: list[pydicom.FileDataset], files: tuple[Path, ...]) -> list[float]:
    """Sort keys of a series: position in mm along the slice normal, else instance number, else the file's place."""
    if all("ImagePositionPatient" in header and "ImageOrientationPatient" in header for header in headers):
        cosines = np.array(headers[0].ImageOrientationPatient, float)
        normal = np.cross(cosines[:3], cosines[3:])
        return [round(float(normal @ np.array(header.ImagePositionPatient, float)), 3) for header in headers]
    if all(header.get("InstanceNumber") is not None for header in headers):
        return [float(header.InstanceNumber) for header in headers]
    return [float(place) for place in range(len(files))]


def _find_geometry(headers: list[pydicom.FileDataset]) -> Geometry:
    """Place of a series whose slices are in order, from indices (row, column, slice)."""
    first, last = headers[0], headers[-1]
    shape = (int(first.Rows), int(first.Columns), len(headers))
    try:
        rows, columns = (float(mm) for mm in first.PixelSpacing)
        cosines = np.array(first.ImageOrientationPatient, float)
        positions = [np.array(header.ImagePositionPatient, float) for header in (first, last)]
    except (AttributeError, TypeError, ValueError):  # not there, or not numbers
        return Geometry(shape)
    normal = np.cross(cosines[:3], cosines[3:])
    if len(headers) > 1:
        step = (positions[1] - positions[0]) / (len(headers) - 1)
    else:
        step = normal * float(first.get("SpacingBetweenSlices") or first.get("SliceThickness") or 1)
    affine = np.eye(4)
    # DICOM's first direction cosine is that of a row, along which the *column* index grows.
    affine[:3, :3] = _RAS @ np.stack([cosines[3:] * rows, cosines[:3] * columns, step], axis=1)
    affine[:3, 3] = _RAS @ positions[0]
    spacing = (rows, columns, float(np.linalg.norm(step)))
    if min(spacing) <= 0 or not is_usable_affine(affine):
        return Geometry(shape)
    return Geometry(shape, affine, spacing)


def _decode_pixels(path: Path, header: pydicom.FileDataset) -> np.ndarray:
    with reading(path):
        image = np.asarray(apply_rescale(header.pixel_array, header), np.float32)
    if image.shape != (header.Rows, header.Columns):
        raise InputError(
            f"{path}: expected {header.Rows}x{header.Columns} pixels, got {list(image.shape)}; export the file again"
        )
    return image
