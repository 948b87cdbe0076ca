# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Images as a DICOM series derived from the one they were made of, by pydicom and highdicom."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from flare_mri import __version__
from flare_mri.files import reading
from flare_mri.inference.dicom_overlay import add_outlines
from flare_mri.inference.dicom_source import RESEARCH, describe_series, import_highdicom, next_series_number
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.io.dicom import GREY_16_BITS

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
    "Laterality",
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
_UNKNOWN = {  # an MR image must have these: empty where the source does not say, or "research mode" and no variant
    **dict.fromkeys(("PatientPosition", "PositionReferenceIndicator", "ScanOptions", "MRAcquisitionType")),
    **dict.fromkeys(("RepetitionTime", "EchoTime", "EchoTrainLength")),
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
}


def encode_series(
    source: Sequence[FileDataset],
    images: np.ndarray,
    model: PersonalModel,
    how: str,
    labels: np.ndarray | None = None,
    organs: Sequence[str] = (),
) -> Iterator[bytes]:
    """The files of a new series in the study of the source, a slice each, at the same place.

    Of a raw scan, of which no image is there, the headers are those of a study that is new itself.

    Values that are integers from 0 to 65535 are stored as they are. Others are stored in 16 bits with one rescale slope
    and intercept for the series: after rescaling they are those of `images` within half a slope.

    Args:
        source: of :func:`~flare_mri.inference.dicom_source.read_source`, or of
            :func:`~flare_mri.inference.dicom_from_raw.make_study`.
        images: float32 [S, rows, columns], on the voxels of the source.
        model: that made the images, or marked organs in them.
        how: what it was given or made, in words, for Derivation Description.
        labels: uint8 [S, rows, columns], of organs that are to be outlined; None for a reconstruction.
        organs: their names, in the order of their numbers.

    Raises:
        InputError: a value of the source that DICOM does not allow.
    """
    highdicom = import_highdicom()
    low, slope, rescale = _find_rescale(images)
    black, white = (float(value) for value in np.percentile(images, (0.5, 99.5)))
    common = {
        "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
        "DerivationDescription": f"{RESEARCH}. Network of job {model.job}, {how}; model {model.checksum}",
        "WindowCenter": f"{(black + white) / 2:.8g}",
        "WindowWidth": f"{max(white - black, slope):.8g}",
        "Rows": images.shape[1],
        "Columns": images.shape[2],
        **rescale,
        **GREY_16_BITS,
    }
    what, place = ("reconstruction", 2) if labels is None else ("outlines", 3)
    named = {
        "series_instance_uid": highdicom.UID(),
        "series_number": next_series_number(source[0], place),
        "series_description": describe_series(source[0], what),
    }
    for number, (header, values) in enumerate(zip(source, images, strict=True), 1):
        with reading(header.filename, "export the series again, or leave out --dicom"):
            image = _derive(header, model, instance_number=number, **named)
            for name, value in common.items():
                setattr(image, name, value)
            if labels is not None:
                add_outlines(image, labels[number - 1], organs)
            stored = np.clip(np.rint((values.astype(np.float64) - low) / slope), 0, _LEVELS)
            image.PixelData = stored.astype("<u2").tobytes()
            image["PixelData"].VR = "OW"
            target = BytesIO()
            image.save_as(target)
        yield target.getvalue()


def _derive(header: FileDataset, model: PersonalModel, **named: Any) -> Dataset:
    """An image without pixels at the place of another, of its patient and study; `named`: its series and number."""
    highdicom = import_highdicom()
    image: Dataset = import_highdicom("highdicom.base").SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        sop_instance_uid=highdicom.UID(),
        sop_class_uid=MRImageStorage,
        modality="MR",
        manufacturer="flare-mri",
        manufacturer_model_name=f"flare-mri {model.job}"[:64],
        software_versions=__version__,
        device_serial_number=model.checksum or "unknown",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **named,
    )
    image.copy_patient_and_study_information(header)
    for name, value in _UNKNOWN.items():
        setattr(image, name, value)
    for name in _KEPT:
        if header.get(name) not in (None, ""):
            image[name] = header[name]
    if "BodyPartExamined" not in image and "Laterality" not in image:
        image.Laterality = None  # unknown; of an unpaired part of the body it may not be there
    if "SeriesInstanceUID" in header:  # a raw scan has no images to refer to
        image.SourceImageSequence = [_refer_to(header)]
    return image


def _find_rescale(images: np.ndarray) -> tuple[float, float, dict[str, str]]:
    """Intercept and slope of the values to store, and the attributes that say them: none where values stay."""
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= _LEVELS and np.array_equal(images, np.rint(images)):
        return 0.0, 1.0, {}  # many viewers window an MR image without its rescale slope
    slope = f"{max((high - low) / _LEVELS, 1e-12):.10g}"  # a decimal string has 16 characters
    intercept = f"{low:.9g}"
    attributes = {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}
    return float(intercept), float(slope), attributes


def _refer_to(header: FileDataset) -> Dataset:
    """Item that names the image from which another was made."""
    purpose = Dataset()
    code = codes.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code.value, "DCM", code.meaning
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item
