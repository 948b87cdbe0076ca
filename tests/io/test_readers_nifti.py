# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""NIfTI folders and the BraTS layout."""

import nibabel
import numpy as np
import pytest

from data_files import data_settings, read_image
from flare_mri.io.brats import find_brats
from flare_mri.io.load import load_scan_file
from flare_mri.io.nifti import find_nifti
from flare_mri.io.nifti_file import NiftiReader


@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_voxels_come_in_the_stored_order(tmp_path, volume, write_nifti, end):
    write_nifti(tmp_path / f"brain{end}", volume)
    (scan,) = find_nifti(data_settings("nifti", tmp_path))
    assert (scan.name, scan.subject) == ("brain", "brain")
    np.testing.assert_array_equal(read_image(scan), volume)
    assert scan.image.geometry().shape == volume.shape


def test_scaled_integers(tmp_path, write_nifti):
    stored = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    path = write_nifti(tmp_path / "a.nii.gz", stored, slope=0.5)
    np.testing.assert_allclose(NiftiReader().read((path,))[0], stored * 0.5)


def test_the_place_is_that_of_the_header(tmp_path, volume):
    affine = np.array([[0, -2, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 9], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / "a.nii")
    (scan,) = find_nifti(data_settings("nifti", tmp_path))
    image = load_scan_file(scan.image)
    np.testing.assert_allclose(image.affine, affine)
    assert image.meta["affine_known"] and scan.image.geometry().spacing == (1.5, 2, 3)


def test_bids_names_give_the_subject(tmp_path, volume, write_nifti):
    for name in ("sub-01_T1w", "sub-01_T2w", "sub-02_T1w", "other"):
        write_nifti(tmp_path / f"{name}.nii.gz", volume)
    subjects = [source.subject for source in find_nifti(data_settings("nifti", tmp_path))]
    assert subjects == ["other", "sub-01", "sub-01", "sub-02"]


def test_brats_layout(tmp_path, volume, write_nifti, refused):
    for case in ("BraTS_002", "BraTS_001"):
        for number, contrast in enumerate(("t2", "flair", "seg")):
            write_nifti(tmp_path / case / f"{case}_{contrast}.nii.gz", np.moveaxis(volume + number, 0, 2))
    settings = data_settings("brats", tmp_path, include=["flair", "t2"])
    sources = find_brats(settings)
    assert [source.name for source in sources] == [
        "BraTS_001_flair",
        "BraTS_001_t2",
        "BraTS_002_flair",
        "BraTS_002_t2",
    ]
    assert [source.subject for source in sources] == ["BraTS_001", "BraTS_001", "BraTS_002", "BraTS_002"]
    np.testing.assert_array_equal(read_image(sources[0]), np.moveaxis(volume + 1, 0, 2))
    (tmp_path / "BraTS_002" / "BraTS_002_t2.nii.gz").unlink()
    refused(lambda: find_brats(settings), "BraTS_002_t2.nii.gz", "no such file", "data.include")


def test_bad_files(tmp_path, volume, write_nifti, refused):
    path = write_nifti(tmp_path / "a.nii.gz", volume)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:40], b"", b"no NIfTI file, whatever the name says" * 20):
        path.write_bytes(content)
        refused(lambda: NiftiReader().read((path,)), str(path), "expected")
    plain = write_nifti(tmp_path / "a.nii", volume)
    plain.write_bytes(plain.read_bytes()[:-100])
    refused(lambda: NiftiReader().read((plain,)), str(plain), "expected")
    write_nifti(path, volume[..., None])
    refused(lambda: NiftiReader().read((path,)), str(path), "a 3D volume", "[6, 20, 24, 1]", "one volume a file")
    write_nifti(path, volume.astype(np.complex64))
    refused(lambda: NiftiReader().read((path,)), str(path), "real numbers", "complex64")


def test_nothing_to_read(tmp_path, refused):
    (tmp_path / "notes.txt").write_text("")
    refused(lambda: find_nifti(data_settings("nifti", tmp_path)), str(tmp_path), "NIfTI files", "data.root")
    refused(lambda: find_brats(data_settings("brats", tmp_path, include=["t2"])), str(tmp_path), "case folders")
