# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""How the axes of a stored volume lie in the patient.

Readers take volumes in the orientation in which they are stored, so a network that was trained on one knows no other.
"""

from collections.abc import Iterable
from pathlib import Path

from nibabel.orientations import aff2axcodes

from flare_mri.io.nifti_file import open_nifti

_ENDINGS = (".nii", ".nii.gz")


def orientation(files: tuple[Path, ...]) -> str:
    """Axis codes such as `LPS` of a volume in a NIfTI file, the first of `files`; empty for every other format.

    Raises:
        InputError: a header that cannot be read.
    """
    if not files or not files[0].name.lower().endswith(_ENDINGS):
        return ""
    image = open_nifti(files[0], axes=(2, 3))
    return "".join(map(str, aff2axcodes(image.header.get_best_affine()))) if len(image.shape) == 3 else ""


def known(orientations: Iterable[str]) -> tuple[str, ...]:
    """All different ones that are not empty, sorted."""
    return tuple(sorted(set(orientations) - {""}))
