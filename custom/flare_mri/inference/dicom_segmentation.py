# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Labels as a DICOM Segmentation that refers to the images they were made of, by highdicom."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.sr.codedict import codes

from flare_mri import __version__
from flare_mri.files import reading
from flare_mri.inference.dicom_source import RESEARCH, describe_series, import_highdicom, next_series_number
from flare_mri.inference.personal_model import PersonalModel


def encode_segmentation(
    source: Sequence[FileDataset], labels: np.ndarray, colours: Mapping[str, str], model: PersonalModel
) -> bytes:
    """A DICOM file: a binary segment for each organ, numbered as the labels, in the frame of reference of the source.

    A slice without an organ has no frame of it. The code of a segment is SNOMED CT's of the organ's name, where
    pydicom's dictionary has it, else that of an organ.

    Args:
        source: of :func:`~flare_mri.inference.dicom_source.read_source`.
        labels: uint8 [S, rows, columns], 0 or the number of an organ, on the voxels of the source.
        colours: by the organ's name, such as `#27d3ff`, in the order of their numbers.
        model: that made the labels.

    Raises:
        InputError: a value of the source that DICOM does not allow.
    """
    highdicom, seg = import_highdicom(), import_highdicom("highdicom.seg")
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=f"flare-mri {model.job}"[:64],
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        source="flare-mri",
        parameters={"model": model.checksum or "unknown"},
    )
    segments = [
        seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=_find_code(name),
            algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=highdicom.UID(),
            tracking_id=name,
            display_color=highdicom.color.CIELabColor.from_rgb(*bytes.fromhex(colour[1:])),
        )
        for number, (name, colour) in enumerate(colours.items(), 1)
    ]
    with reading(source[0].filename, "export the series again, or leave out --dicom"):
        made = seg.Segmentation(
            source_images=source,
            pixel_array=labels,
            segmentation_type=seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            omit_empty_frames=bool(labels.any()),
            series_instance_uid=highdicom.UID(),
            series_number=next_series_number(source[0], 1),
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="flare-mri",
            manufacturer_model_name=f"flare-mri {model.job}"[:64],
            software_versions=__version__,
            device_serial_number=model.checksum or "unknown",
            content_label="RESEARCH",
            content_description=f"{RESEARCH}: {', '.join(colours)}"[:64],
            content_creator_name="flare-mri^",
            series_description=describe_series(source[0], "segmentation"),
        )
        target = BytesIO()
        made.save_as(target)
    return target.getvalue()


def _find_code(organ: str) -> Any:
    """SNOMED CT's code for an organ whose name is in pydicom's dictionary, such as liver or left-kidney."""
    name = "".join(word.capitalize() for word in organ.replace("-", "_").split("_"))
    return getattr(codes.SCT, name, codes.SCT.Organ)
