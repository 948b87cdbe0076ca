# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""DICOM series with one file whose header does not fit its pixels."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from mutators import Base, Case
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
)

from flare_mri.io.dicom import GREY_16_BITS

PIXELS = np.random.default_rng(0).integers(1, 4000, (3, 12, 10), dtype=np.uint16)
NAME, META = "t1/1.dcm", 132
DEFLATED = UID("1.2.840.10008.1.2.1.99")

EXTREMES: dict[str, tuple[Any, ...]] = {
    "Rows": (0, 1, 11, 13, 65535, None, [12, 12]),
    "Columns": (0, 1, 65535, None),
    "NumberOfFrames": (0, 1, 2, -1, 2**31 - 1, 10**18, None),
    "SamplesPerPixel": (0, 2, 3, 65535, None),
    "BitsAllocated": (0, 1, 7, 8, 12, 32, 64, 65535, None),
    "BitsStored": (0, 1, 8, 17, 65535, None),
    "HighBit": (0, 65535, None),
    "PixelRepresentation": (1, 2, 65535, None),
    "PhotometricInterpretation": ("RGB", "PALETTE COLOR", "YBR_FULL_422", "", "x" * 300, None),
    "RescaleSlope": ("0", "1e308", "nan", "-1", ["1", "2"]),
    "RescaleIntercept": ("inf", "-1e30", ["1", "2"]),
    "ImagePositionPatient": ([0, 0], [], ["nan", "0", "0"], ["1e308", "1e308", "1e308"], ["0", "0", "3"], None),
    "ImageOrientationPatient": ([0], [0] * 6, ["nan"] * 6, ["1e308"] * 6, None),
    "InstanceNumber": ("-1", ["1", "2"], "99999999999", None),
    "PatientID": ("../../x", "a\nb\x1b[2J", "x" * 5000, ["a", "b"]),
    "Modality": ("CT", "", ["MR", "CT"], "MR\n", None),
    "SpecificCharacterSet": ("ISO 2022 IR 87", "nothing", ["x"] * 50),
    "PixelData": (b"", b"\0", bytes(239), bytes(241), bytes(2**20), None),
}


def image(number: int, **tags: Any) -> FileDataset:
    """One slice of the series; a tag of None is left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, UID(f"1.2.3.{number}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    defaults: dict[str, Any] = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": UID(f"1.2.3.{number}"),
        "Modality": "MR",
        "PatientID": "P1",
        "Rows": 12,
        "Columns": 10,
        **GREY_16_BITS,
        "InstanceNumber": number,
        "ImagePositionPatient": [0, 0, 3 * number],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelData": PIXELS[number].tobytes(),
    }
    for name, value in {**defaults, **tags}.items():
        if value is not None:
            setattr(found, name, value)
    if "PixelData" in found:
        found["PixelData"].VR = "OW"
    return found


def written(dataset: FileDataset, syntax: UID | None = None) -> bytes:
    """The file's bytes, without checks of what is in it."""
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=False)
    return file.getvalue()


def dicom_files(folder: Path) -> tuple[list[Base], list[Case]]:
    """A series of three files of which the second is changed."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.WARN
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    (folder / "t1").mkdir()
    for number in range(3):
        (folder / "t1" / f"{number}.dcm").write_bytes(written(image(number)))
    packed = image(1)
    packed.compress(RLELossless, PIXELS[1])
    bases = [
        Base(NAME, written(image(1))),
        Base(NAME, written(image(1), ImplicitVRLittleEndian)),
        Base(NAME, written(packed)),
        Base(NAME, written(image(1), DEFLATED)),
    ]
    hostile = []
    for name, values in EXTREMES.items():
        for value in values:
            if isinstance(value, list) and name == "Rows":
                continue  # pydicom writes no list of that type; `lists` below does
            hostile.append(Case(NAME, written(image(1, **{name: value})), f"{name} = {str(value)[:40]}"))
    hostile += _lengths(bases[0].content) + _encapsulated() + _deep()
    return bases, [*hostile, *_deflated(bases[3].content)]


def _lengths(content: bytes) -> list[Case]:
    """Lengths of values that the file does not hold."""
    found = []
    for tag, what in (
        (b"\xe0\x7f\x10\x00OW\0\0", "PixelData"),
        (b"\x28\x00\x10\x00US", "Rows"),
        (b"\x10\x00\x20\x00LO", "PatientID"),
    ):
        at = content.index(tag) + len(tag)
        for length in (0, 1, 2**16 - 1) if what != "PixelData" else (0, 1, 2**31, 2**32 - 2, 2**32 - 1):
            size = struct.pack("<I" if what == "PixelData" else "<H", length)
            found.append(Case(NAME, content[:at] + size + content[at + len(size) :], f"{what} of {length} bytes"))
    rows = content.index(b"\x28\x00\x10\x00US") + 6
    twice = content[:rows] + struct.pack("<HHH", 4, 12, 12) + content[rows + 4 :]
    group = content[:META] + b"\x02\x00\x00\x00UL\x04\x00\xff\xff\xff\xff" + content[META + 12 :]
    return [*found, Case(NAME, twice, "two values of Rows"), Case(NAME, group, "a meta group of 4 GiB")]


def _encapsulated() -> list[Case]:
    """Packed pixels that are none, or unpack to more than the header says."""
    runs = struct.pack("<16I", 2, 64, 64 + 2**20, *([0] * 13)) + b"\x81\x00" * 2**19 * 2
    found = []
    for rows, what in ((12, "too many"), (8192, "as many as a slice may have"), (65535, "more than allowed")):
        bomb = image(1, Rows=rows, Columns=rows)
        bomb.PixelData = pydicom.encaps.encapsulate([runs])
        bomb["PixelData"].VR, bomb["PixelData"].is_undefined_length = "OB", True
        found.append(Case(NAME, written(bomb, RLELossless), f"runs of {what} pixels"))
    for syntax in (
        JPEG2000Lossless,
        UID("1.2.840.10008.1.2.4.50"),
        UID("1.2.840.10008.1.2.4.100"),
        UID("1.2.3"),
        UID(""),
    ):
        junk = image(1)
        junk.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(200)])
        junk["PixelData"].VR, junk["PixelData"].is_undefined_length = "OB", True
        found.append(Case(NAME, written(junk, syntax), f"junk as {syntax or 'no'} transfer syntax"))
    return found


def _deep() -> list[Case]:
    """Sequences in sequences."""
    content = b"".join(b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" for _ in range(20000))
    whole = written(image(1))
    at = whole.index(b"\xe0\x7f\x10\x00OW")
    tables = image(1)
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [65535, 0, 16], "x"
    table.add_new("LUTData", "US", [1, 2, 3])
    tables.ModalityLUTSequence = Sequence([table])
    return [Case(NAME, whole[:at] + content, "20,000 nested sequences"), Case(NAME, written(tables), "a short table")]


def _deflated(content: bytes) -> list[Case]:
    """A file that says it is deflated, and 4 GiB of zeros."""
    start = content[: content.index(DEFLATED.encode()) + len(DEFLATED)]
    start += b"\0" * (len(start) % 2)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflate.compress(bytes(2**24)) + deflate.flush(zlib.Z_FULL_FLUSH)  # after a full flush it may be repeated
    zeros = block * 256 + deflate.flush()
    return [
        Case(NAME, start + zeros, "4 GiB, deflated"),
        Case(NAME, start + zeros[: 2**17], "128 MiB, deflated, cut short"),
    ]
