# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Series of DICOM files that no volume can be made of: several acquisitions, a gap, a tilt, pixels that stay packed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.pixels import get_decoder

from flare_mri.errors import InputError
from flare_mri.files import reading

_SAME = {  # in all files of an acquisition, by the largest difference that is rounding
    "SeriesInstanceUID": 0.0,
    "ImageOrientationPatient": 0.01,
    "PixelSpacing": 0.001,
    "EchoTime": 0.1,
}
_UNEVEN = 0.1  # of the usual distance of two slices
_GAP = 1.5
_TILT = 0.02  # across the slices, of the way along their normal: 1.1 degrees


def check_one_acquisition(files: Sequence[Path], headers: Sequence[FileDataset]) -> None:
    """Refuses files of several series, directions, resolutions or echoes; what a file does not say is not compared.

    Raises:
        InputError: names the first file that differs from the first one.
    """
    for name, most in _SAME.items():
        expected = headers[0].get(name)
        for path, header in zip(files, headers, strict=True):
            found = header.get(name)
            with reading(path):
                if expected is not None and found is not None and not _agree(expected, found, most):
                    raise InputError(
                        f"{path}: expected {name} {expected} as in {files[0].name}, got {found}: several acquisitions "
                        "are mixed; keep one series (one echo, one time) a folder"
                    )


def _agree(one: object, other: object, most: float) -> bool:
    if not most:
        return one == other
    return bool(np.allclose(np.array(one, float), np.array(other, float), rtol=0, atol=most))


def check_positions(files: Sequence[Path], headers: Sequence[FileDataset]) -> None:
    """Refuses slices that do not lie one behind the other at even distances, where they say how they lie.

    Args:
        files: in the order of their slices.
        headers: of these files.

    Raises:
        InputError: a slice is missing, distances are uneven, or the stack is tilted against its slices.
    """
    if len(files) < 2 or not all("ImagePositionPatient" in h and "ImageOrientationPatient" in h for h in headers):
        return
    cosines = np.array(headers[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    positions = np.array([header.ImagePositionPatient for header in headers], float)
    steps = np.diff(positions, axis=0) @ normal
    usual = float(np.median(steps))
    for place, step in enumerate(steps):
        if abs(step - usual) > _UNEVEN * usual:
            what = "a slice is missing" if step > _GAP * usual else "slices are missing, or of several acquisitions"
            raise InputError(
                f"{files[place + 1]}: expected a slice every {usual:.3g} mm, got {step:.3g} mm from "
                f"{files[place].name}: {what}; export the series again, complete and alone in its folder"
            )
    whole = positions[-1] - positions[0]
    along = float(whole @ normal)
    across = float(np.linalg.norm(whole - along * normal))
    if across > _TILT * along:
        raise InputError(
            f"{files[0].parent}: expected slices one behind the other, got a stack tilted by "
            f"{np.degrees(np.arctan2(across, along)):.1f} degrees (gantry tilt); convert it with dcm2niix, which "
            "straightens it, and give the NIfTI file"
        )


def check_decodable(path: Path, header: FileDataset) -> None:
    """Refuses compressed pixels that no package here decodes.

    Raises:
        InputError: names the compression and the packages that would.
    """
    try:
        decoder = get_decoder(header.file_meta.TransferSyntaxUID)
    except (NotImplementedError, AttributeError):  # no compression of images, or none is told: decoding them says so
        return
    if not decoder.is_available:
        able = " or ".join(told.partition(" - ")[0] for told in decoder.missing_dependencies)
        raise InputError(
            f"{path}: expected pixels that a package here decodes, got {decoder.UID.name}, for which {able} is needed; "
            "pip install 'flare-mri[dicom]'"
        )
