# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The XML header of ISMRMRD, which fastMRI's files carry too: matrices, fields of view, limits of the encoding.

Inati et al., "ISMRM Raw data format", MRM 2017. x is the readout, y the phase encoding, z the partitions or slices.
"""

import math
from dataclasses import dataclass
from xml.etree import ElementTree

from flare_mri.io.hdf5 import MOST_TEXT

_MOST_MATRIX = 65535  # acquisitions count their samples and lines in 16 bits


@dataclass(frozen=True)
class Space:
    """A grid of k-space or of the image.

    Attributes:
        matrix: numbers of samples along x, y and z, each at least 1.
        field: mm along x, y and z; None where the header has none that can be used.
    """

    matrix: tuple[int, int, int]
    field: tuple[float, float, float] | None

    @property
    def slice_distance(self) -> float:
        """mm along z from one sample to the next; NaN where the header has no field of view."""
        return self.field[2] / self.matrix[2] if self.field else math.nan


@dataclass(frozen=True)
class Header:
    """What this project needs of a header; None for what it does not say.

    Attributes:
        encoded: the grid that was measured.
        recon: the grid of the image that the scanner would make.
        trajectory: `cartesian` or another.
        centre: number of the line that passes through the centre of k-space.
        slices: how many the limits announce.
        calibration: how lines for calibration were measured: `embedded`, `interleaved`, `separate`, `external`.
        encodings: how many grids the file holds; this is the first.
        patient: the patient's ID.
        protocol: name of the protocol.
        frame: UID of the frame of reference, which scans of one position of the patient share.
    """

    encoded: Space | None = None
    recon: Space | None = None
    trajectory: str | None = None
    centre: int | None = None
    slices: int | None = None
    calibration: str | None = None
    encodings: int = 0
    patient: str | None = None
    protocol: str | None = None
    frame: str | None = None


def parse_header(text: str) -> Header:
    """Reads a header of at most :data:`~flare_mri.io.hdf5.MOST_TEXT` characters.

    Raises:
        ValueError: no XML, of another kind, too long, or with a document type, whose entities may stand for gigabytes.
    """
    if len(text) > MOST_TEXT:
        raise ValueError(f"more than {MOST_TEXT} characters")
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise ValueError("a document type")
    try:
        root = ElementTree.fromstring(text.strip().strip("\x00"))
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"no XML ({error})") from error
    if root.tag.rpartition("}")[2] != "ismrmrdHeader":
        raise ValueError(f"the element {root.tag.rpartition('}')[2][:50]!r}")
    encodings = root.findall("{*}encoding")
    if not encodings:
        return Header()
    first = encodings[0]
    limits = "{*}encodingLimits/{*}"
    last = _whole(first.findtext(f"{limits}slice/{{*}}maximum"))
    return Header(
        _space(first.find("{*}encodedSpace")),
        _space(first.find("{*}reconSpace")),
        (first.findtext("{*}trajectory") or "").strip().lower() or None,
        _whole(first.findtext(f"{limits}kspace_encoding_step_1/{{*}}center")),
        None if last is None else last + 1,
        (first.findtext("{*}parallelImaging/{*}calibrationMode") or "").strip().lower() or None,
        len(encodings),
        clean_text(root.findtext("{*}subjectInformation/{*}patientID")),
        clean_text(root.findtext("{*}measurementInformation/{*}protocolName")),
        clean_text(root.findtext("{*}measurementInformation/{*}frameOfReferenceUID")),
    )


def _space(element: ElementTree.Element | None) -> Space | None:
    if element is None:
        return None
    sizes = [_whole(element.findtext(f"{{*}}matrixSize/{{*}}{axis}")) for axis in "xyz"]
    x, y, z = (size if size and 1 <= size <= _MOST_MATRIX else None for size in sizes)
    if x is None or y is None or z is None:
        return None
    try:
        mm = [float(element.findtext(f"{{*}}fieldOfView_mm/{{*}}{axis}") or "nan") for axis in "xyz"]
    except ValueError:
        mm = [math.nan] * 3
    field = (mm[0], mm[1], mm[2]) if all(0.01 <= size <= 10_000 for size in (*mm, mm[2] / z)) else None
    return Space((x, y, z), field)


def clean_text(text: str | None) -> str | None:
    """Words of at most 64 printable characters, as DICOM holds them; None of others."""
    words = " ".join((text or "").split())
    return words if 0 < len(words) <= 64 and words.isprintable() and "\\" not in words else None


def _whole(text: str | None) -> int | None:
    digits = (text or "").strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None
