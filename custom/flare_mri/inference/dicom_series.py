# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reconstructed images as a DICOM series derived from the one they were made of, by pydicom and highdicom."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from flare_mri import __version__
from flare_mri.files import reading
from flare_mri.inference.dicom_source import RESEARCH, describe_series, import_highdicom, next_series_number
from flare_mri.inference.personal_model import PersonalModel

_LEVELS = 2**16 - 1
_KEPT = (  # of the source: where the slice lies, and how it was measured; nothing else of it, and nothing private
    "SpecificCharacterSet",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SliceLocation",
    "PatientPosition",
    "BodyPartExamined",
    "AcquisitionNumber",
    "AcquisitionDate",
    "AcquisitionTime",
    "ScanningSequence",
    "SequenceVariant",
    "ScanOptions",
    "MRAcquisitionType",
    "RepetitionTime",
    "EchoTime",
    "EchoTrainLength",
    "InversionTime",
    "FlipAngle",
    "NumberOfAverages",
    "ImagingFrequency",
    "ImagedNucleus",
    "MagneticFieldStrength",
)


def encode_series(source: Sequence[FileDataset], images: np.ndarray, model: PersonalModel, how: str) -> Iterator[bytes]:
    """The files of a new series in the study of the source, a slice each, at the same place.

    Of a raw scan, of which no image is there, the headers are those of a study that is new itself.

    Values are stored in 16 bits with one rescale slope and intercept for the series: after rescaling they are those of
    `images` within half a slope.

    Args:
        source: of :func:`~flare_mri.inference.dicom_source.read_source`, or of
            :func:`~flare_mri.inference.dicom_from_raw.make_study`.
        images: float32 [S, rows, columns], on the voxels of the source.
        model: that made the images.
        how: what they were made of, for Derivation Description.

    Raises:
        InputError: a value of the source that DICOM does not allow.
    """
    highdicom, base = import_highdicom(), import_highdicom("highdicom.base")
    low, high = float(images.min()), float(images.max())
    slope = float(f"{max((high - low) / _LEVELS, 1e-12):.10g}")  # as a decimal string of 16 characters holds it
    low = float(f"{low:.9g}")
    black, white = (float(value) for value in np.percentile(images, (0.5, 99.5)))
    common: dict[str, Any] = {
        "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
        "DerivationDescription": f"{RESEARCH}. Network of job {model.job}, from {how}; model {model.checksum}",
        "RescaleSlope": f"{slope:.10g}",
        "RescaleIntercept": f"{low:.9g}",
        "RescaleType": "US",
        "WindowCenter": f"{(black + white) / 2:.8g}",
        "WindowWidth": f"{max(white - black, slope):.8g}",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "Rows": images.shape[1],
        "Columns": images.shape[2],
    }
    series = highdicom.UID()
    for number, (header, values) in enumerate(zip(source, images, strict=True), 1):
        with reading(header.filename, "export the series again, or leave out --dicom"):
            image = base.SOPClass(
                study_instance_uid=header.StudyInstanceUID,
                series_instance_uid=series,
                series_number=next_series_number(source[0], 2),
                sop_instance_uid=highdicom.UID(),
                sop_class_uid=MRImageStorage,
                instance_number=number,
                modality="MR",
                manufacturer="flare-mri",
                manufacturer_model_name=f"flare-mri {model.job}"[:64],
                software_versions=__version__,
                device_serial_number=model.checksum or "unknown",
                transfer_syntax_uid=ExplicitVRLittleEndian,
                series_description=describe_series(source[0], "reconstruction"),
            )
            image.copy_patient_and_study_information(header)
            for name in _KEPT:
                if header.get(name) not in (None, ""):
                    image[name] = header[name]
            for name, value in common.items():
                setattr(image, name, value)
            if "SeriesInstanceUID" in header:  # a raw scan has no images to refer to
                image.SourceImageSequence = [_refer_to(header)]
            stored = np.clip(np.rint((values.astype(np.float64) - low) / slope), 0, _LEVELS)
            image.PixelData = stored.astype("<u2").tobytes()
            image["PixelData"].VR = "OW"
            target = BytesIO()
            image.save_as(target)
        yield target.getvalue()


def _refer_to(header: FileDataset) -> Dataset:
    """Item that names the image from which another was made."""
    purpose = Dataset()
    code = codes.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code.value, "DCM", code.meaning
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item
