# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Volumes of every format: checks, matrix and cache."""

import os
import shutil

import numpy as np
import pytest

from flare_mri.datasets.phantom import make_phantom
from flare_mri.datasets.volumes import Preparation
from flare_mri.datasets.volumes import open_volumes as open_task_volumes
from flare_mri.io.formats import RECONSTRUCTION
from flare_mri.io.raw.build import make_target
from flare_mri.transforms.kspace import crop_kspace


def open_volumes(config):
    return open_task_volumes(config, RECONSTRUCTION)


def magnitudes(site: str, subject: int) -> np.ndarray:
    return make_target(make_phantom(site, subject, (32, 32)).kspace)


def stacked(volume):
    return np.stack([volume.slices[index] for index in range(len(volume.slices))])


@pytest.fixture
def site(load, tmp_path):
    (tmp_path / "data").mkdir()
    return lambda rest="": load(f"data: {{format: nifti, root: data, slice_axis: 0{rest}}}")


def test_volumes_are_read_once(site, tmp_path, volume, write_nifti, monkeypatch):
    write_nifti(tmp_path / "data" / "a.nii", volume)
    np.testing.assert_array_equal(stacked(open_volumes(site())[0]), volume)
    monkeypatch.setattr(Preparation, "_make", lambda *_: pytest.fail("read again"))
    np.testing.assert_array_equal(stacked(open_volumes(site())[0]), volume)


def test_new_content_of_the_same_size_and_time_is_read_anew(site, tmp_path, volume, write_nifti):
    """As cp -p and rsync -t leave it."""
    path, new = (
        write_nifti(tmp_path / name / "a.nii", values) for name, values in (("data", volume), ("b", volume[::-1]))
    )
    os.utime(path, (1e9, 1e9))
    np.testing.assert_array_equal(stacked(open_volumes(site())[0]), volume)
    os.utime(new, (1e9, 1e9))
    shutil.copy2(new, path)
    assert path.stat().st_mtime == 1e9 and path.stat().st_size == new.stat().st_size
    np.testing.assert_array_equal(stacked(open_volumes(site())[0]), volume[::-1])


def test_a_changed_file_or_setting_is_read_anew(site, tmp_path, volume, write_nifti):
    path = write_nifti(tmp_path / "data" / "a.nii", volume)
    open_volumes(site())
    assert open_volumes(site(", slices: {start: 2}"))[0].slices.shape == (4, 20, 24)
    write_nifti(path, 2 * volume)
    os.utime(path, (1e9, 1e9))
    np.testing.assert_array_equal(stacked(open_volumes(site())[0]), 2 * volume)


def test_matrix(site, tmp_path, volume, write_nifti):
    write_nifti(tmp_path / "data" / "a.nii", volume)
    write_nifti(tmp_path / "data" / "b.nii", volume[:, :, :18])
    volumes = open_volumes(site(", spatial_size: [16, 30]"))
    np.testing.assert_array_equal(stacked(volumes[0]), crop_kspace(volume, (16, 30)))
    assert volumes[1].slices.shape == (6, 16, 30)


def test_volumes_of_different_size(site, tmp_path, volume, write_nifti, refused):
    write_nifti(tmp_path / "data" / "a.nii", volume)
    write_nifti(tmp_path / "data" / "b.nii", volume[:, :16])
    refused(lambda: open_volumes(site()), "b.nii", "[20, 24] as in a", "got [16, 24]", "set data.spatial_size")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, ["finite values", "got 1 NaN or infinite", "slice 2"]),
        (np.inf, ["finite values", "slice 2"]),
        (-3.0, ["magnitudes >= 0", "got -3"]),
    ],
)
def test_bad_values(site, tmp_path, volume, write_nifti, refused, value, words):
    volume[2, 3, 4] = value
    write_nifti(tmp_path / "data" / "a.nii", volume)
    refused(lambda: open_volumes(site()), "a.nii", *words)


def test_empty_volumes(site, tmp_path, volume, write_nifti, refused):
    write_nifti(tmp_path / "data" / "a.nii", 0 * volume)
    refused(lambda: open_volumes(site()), "a.nii", "no value above 0")
    refused(lambda: open_volumes(site(", slices: {start: 6}")), "a.nii", "none of shape [6, 20, 24]", "data.slices")


def test_undershoots_of_interpolation_become_zero(site, tmp_path, volume, write_nifti):
    volume[2, 3, 4] = -0.009 * volume.max()
    write_nifti(tmp_path / "data" / "a.nii", volume)
    read = stacked(open_volumes(site())[0])
    assert read.min() == 0
    np.testing.assert_array_equal(read, volume.clip(0))


def test_a_cache_that_is_too_small(load, tmp_path, write_nifti, refused):
    write_nifti(tmp_path / "a.nii", np.ones((5, 256, 256), np.float32))
    config = load("data: {format: nifti, root: .}\ncache: {limit_mb: 1}")
    refused(lambda: open_volumes(config), "cache.limit_mb", "over 1.2", "got 1", "raise it")


def test_the_phantom(load):
    config = load("data: {format: phantom, subjects: 2, spatial_size: [32, 32], slices: {start: 1, stop: 4}}")
    for subject, volume in enumerate(open_volumes(config)):
        np.testing.assert_array_equal(stacked(volume), magnitudes("site-1", subject)[1:4])
    other = open_volumes(config.model_copy(update={"site": "site-2"}))[0]
    np.testing.assert_array_equal(stacked(other), magnitudes("site-2", 0)[1:4])
