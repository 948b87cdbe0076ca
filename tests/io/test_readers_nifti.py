# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""NIfTI folders and the BraTS layout."""

import numpy as np
import pytest

from flare_mri.config.site import DataSettings, SliceRange
from flare_mri.io.readers_nifti import find_brats, find_nifti, read_nifti


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_slices_along_the_given_axis(tmp_path, volume, write_nifti, axis, end):
    write_nifti(tmp_path / f"brain{end}", np.moveaxis(volume, 0, axis))
    settings = DataSettings("nifti", tmp_path, slice_axis=axis, slices=SliceRange(1, None, 2))
    (source,) = find_nifti(settings)
    assert (source.name, source.subject) == ("brain", "brain")
    np.testing.assert_array_equal(source.read(), volume[1::2])


def test_scaled_integers(tmp_path, write_nifti):
    stored = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    path = write_nifti(tmp_path / "a.nii.gz", stored, slope=0.5)
    np.testing.assert_allclose(read_nifti(path, DataSettings("nifti", tmp_path)), np.moveaxis(stored * 0.5, 2, 0))


def test_bids_names_give_the_subject(tmp_path, volume, write_nifti):
    for name in ("sub-01_T1w", "sub-01_T2w", "sub-02_T1w", "other"):
        write_nifti(tmp_path / f"{name}.nii.gz", volume)
    subjects = [source.subject for source in find_nifti(DataSettings("nifti", tmp_path))]
    assert subjects == ["other", "sub-01", "sub-01", "sub-02"]


def test_brats_layout(tmp_path, volume, write_nifti, refused):
    for case in ("BraTS_002", "BraTS_001"):
        for number, contrast in enumerate(("t2", "flair", "seg")):
            write_nifti(tmp_path / case / f"{case}_{contrast}.nii.gz", np.moveaxis(volume + number, 0, 2))
    settings = DataSettings("brats", tmp_path, include=("flair", "t2"), slices=SliceRange(4, 120))
    sources = find_brats(settings)
    assert [source.name for source in sources] == [
        "BraTS_001_flair",
        "BraTS_001_t2",
        "BraTS_002_flair",
        "BraTS_002_t2",
    ]
    assert [source.subject for source in sources] == ["BraTS_001", "BraTS_001", "BraTS_002", "BraTS_002"]
    np.testing.assert_array_equal(sources[0].read(), volume[4:] + 1)
    (tmp_path / "BraTS_002" / "BraTS_002_t2.nii.gz").unlink()
    refused(lambda: find_brats(settings), "BraTS_002_t2.nii.gz", "no such file", "data.include")


def test_bad_files(tmp_path, volume, write_nifti, refused):
    settings = DataSettings("nifti", tmp_path)
    path = write_nifti(tmp_path / "a.nii.gz", volume)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:40], b"", b"no NIfTI file, whatever the name says" * 20):
        path.write_bytes(content)
        refused(lambda: read_nifti(path, settings), str(path), "expected")
    plain = write_nifti(tmp_path / "a.nii", volume)
    plain.write_bytes(plain.read_bytes()[:-100])
    refused(lambda: read_nifti(plain, settings), str(plain), "expected")
    write_nifti(path, volume[..., None])
    refused(lambda: read_nifti(path, settings), str(path), "a 3D volume", "[6, 20, 24, 1]", "one volume a file")
    write_nifti(path, volume.astype(np.complex64))
    refused(lambda: read_nifti(path, settings), str(path), "real numbers", "complex64")


def test_nothing_to_read(tmp_path, refused):
    (tmp_path / "notes.txt").write_text("")
    refused(lambda: find_nifti(DataSettings("nifti", tmp_path)), str(tmp_path), "NIfTI files", "data.root")
    refused(lambda: find_brats(DataSettings("brats", tmp_path, include=("t2",))), str(tmp_path), "case folders")
