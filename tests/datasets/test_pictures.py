# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Slices to look at stand upright, whatever the order in which a file stores its voxels."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from data_files import data_settings
from flare_mri.datasets.pictures import Picture, SlicePlace, show_slice, take_picture, upright_slice
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
    assert turned.edges == ("APHF", "RLHF", "RLAP")[axis] and 1 <= turned.number <= turned.total
    assert turned.image[corner].min() > 0.4 and turned.image.mean() < 0.3


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA", "AIL"])
@pytest.mark.parametrize("labels", [False, True])
def test_a_single_slice_is_turned_as_a_volume_is(codes: str, labels: bool) -> None:
    """Of LPS with 1 x 1 x 2 mm: the front above, or the head, where 2 mm are two pixels; the left is on the right."""
    voxels = np.random.default_rng(0).integers(0, 3, (6, 8, 5)).astype(np.uint8 if labels else np.float32)
    image = nibabel.Nifti1Image(voxels, np.diag([-1, -1, 2.0, 1]))
    turned = image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(codes))))
    data = np.asarray(turned.dataobj).astype(voxels.dtype)
    for axis, expected in ((2, voxels[:, :, 3].T), (1, voxels[:, 3].T[::-1]), (0, voxels[3].T[::-1])):
        at = int(np.flatnonzero(io_orientation(turned.affine)[:, 0] == axis)[0])
        place = int((np.linalg.inv(turned.affine) @ image.affine @ [3, 3, 3, 1])[at].round())
        seen = upright_slice(data.take(place, at), turned.affine, at)
        assert seen.dtype == voxels.dtype and seen.shape[1] == expected.shape[1]
        if axis == 2 or labels:
            np.testing.assert_array_equal(seen, expected if axis == 2 else expected.repeat(2, axis=0))
        else:
            assert np.corrcoef(seen.ravel(), expected.repeat(2, axis=0).ravel())[0, 1] > 0.8


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA", "AIL"])
def test_a_stored_slice_is_turned_by_what_is_known_of_its_place(codes: str) -> None:
    voxels = np.random.default_rng(0).random((6, 8, 5), np.float32)
    image = nibabel.Nifti1Image(voxels, np.diag([-1, -1, 2.0, 1]))
    turned = image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(codes))))
    steps = np.linalg.norm(turned.affine[:3, :3], axis=0)
    for axis in range(3):
        down, across = np.delete(steps, axis)
        place = SlicePlace(codes[:axis] + codes[axis + 1 :] + codes[axis], (down, across))
        part = np.asarray(turned.dataobj).take(2, axis)
        np.testing.assert_array_equal(show_slice(part, place), upright_slice(part, turned.affine, axis))


def test_of_a_place_not_known_pixels_are_square_and_nothing_is_turned() -> None:
    part = np.random.default_rng(0).random((6, 8), np.float32)
    np.testing.assert_array_equal(show_slice(part, SlicePlace()), part)
    assert show_slice(part, SlicePlace("", (1.5, 1.0))).shape == (9, 8)
    labels = show_slice((part > 0.5).astype(np.uint8), SlicePlace("", (2.0, 1.0)))
    np.testing.assert_array_equal(labels, (part > 0.5).repeat(2, axis=0))
