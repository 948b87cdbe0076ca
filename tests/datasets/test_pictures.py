# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Slices to look at stand upright, whatever the order in which a file stores its voxels."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from data_files import data_settings
from flare_mri.datasets.pictures import Picture, take_picture
from flare_mri.io.load import load_scan_file
from flare_mri.io.nifti_file import NiftiReader
from flare_mri.io.scan import ScanFile


def stored(tmp_path: Path, codes: str, keys: dict[str, object]) -> Picture:
    """The picture of a scan with a bright spot at the patient's left, front and head, stored in this order of axes."""
    voxels = np.zeros((32, 40, 20), np.float32)  # RAS: to the right, front, head
    voxels[:8, -8:, -5:] = 1
    voxels[0, 0, 0] = 0.1
    image = nibabel.Nifti1Image(voxels, np.diag([1, 1, 2.0, 1]))
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(codes)))
    path = tmp_path / "a.nii.gz"
    nibabel.save(image.as_reoriented(turn), path)
    file = load_scan_file(ScanFile((path,), NiftiReader()))
    marked = file.clone()
    marked[:] = file > 0.5
    return take_picture(file, marked, data_settings("nifti", tmp_path, **keys))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA", "AIL"])
@pytest.mark.parametrize(
    ("axis", "shape", "corner"),
    [
        (2, (40, 32), (slice(0, 8), slice(-8, None))),  # transverse: front above, the patient's left on the right
        (1, (40, 32), (slice(0, 10), slice(-8, None))),  # coronal: head above, left on the right; 2 mm are 2 pixels
        (0, (40, 40), (slice(0, 10), slice(0, 8))),  # sagittal: head above, front on the left
    ],
)
def test_a_spot_is_where_radiologists_look_for_it(
    tmp_path: Path, codes: str, axis: int, shape: tuple[int, int], corner: tuple[slice, slice]
) -> None:
    turned = stored(tmp_path, codes, {"slice_axis": axis})
    assert turned.label is not None and turned.image.shape == turned.label.shape == shape
    expected = np.zeros(shape)
    expected[corner] = 1
    assert np.array_equal(turned.label, expected)
    assert turned.image[corner].min() > 0.4 and turned.image.mean() < 0.3
