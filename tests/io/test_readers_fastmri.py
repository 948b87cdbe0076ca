# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""fastMRI files."""

import shutil

import h5py
import numpy as np
import pytest

from data_files import data_settings, read_image
from flare_mri.io.fastmri import FastMRIReader, find_fastmri

HEADER = (
    '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><reconSpace><matrixSize><x>20</x><y>24</y><z>1</z>'
    "</matrixSize><fieldOfView_mm><x>40</x><y>24</y><z>4</z></fieldOfView_mm></reconSpace></encoding></ismrmrdHeader>"
)


def numpy_fft2c(image):
    shifted = np.fft.ifftshift(image, axes=(-2, -1))
    return np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1)).astype(np.complex64)


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "knee").mkdir()
    return data_settings("fastmri", tmp_path / "knee")


def only(settings):
    (scan,) = find_fastmri(settings)
    return np.moveaxis(read_image(scan), -1, 0)


def test_reconstructions_come_before_kspace(settings, volume, write_fastmri):
    path = settings.root / "a.h5"
    write_fastmri(path, kspace=numpy_fft2c(volume), reconstruction_esc=2 * volume, reconstruction_rss=3 * volume)
    np.testing.assert_array_equal(only(settings), 2 * volume)
    write_fastmri(path, kspace=numpy_fft2c(volume), reconstruction_rss=3 * volume)
    np.testing.assert_array_equal(only(settings), 3 * volume)


def test_single_coil_kspace(settings, volume, write_fastmri):
    phase = np.exp(1j * np.linspace(0, 3, volume.shape[2]))
    write_fastmri(settings.root / "a.h5", kspace=numpy_fft2c(volume * phase))
    read = only(settings)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, volume, rtol=1e-5)


def test_multi_coil_kspace_by_root_of_sum_of_squares(settings, volume, write_fastmri):
    coils = np.array([0.6, 0.8j, 1.2])[None, :, None, None]
    write_fastmri(settings.root / "a.h5", kspace=numpy_fft2c(volume[:, None] * coils))
    np.testing.assert_allclose(only(settings), volume * np.sqrt(0.36 + 0.64 + 1.44), rtol=1e-5)


def test_only_the_chosen_files(settings, volume, write_fastmri):
    for name in ("b_t1", "a_t2", "c_t2"):
        write_fastmri(settings.root / f"{name}.h5", reconstruction_esc=volume)
    chosen = data_settings("fastmri", settings.root, include=["*_t2.h5"])
    sources = find_fastmri(chosen)
    assert [source.name for source in sources] == ["a_t2", "c_t2"]
    np.testing.assert_array_equal(read_image(sources[0]), np.moveaxis(volume, 0, -1))


def test_bad_files(settings, volume, write_fastmri, refused):
    path = write_fastmri(settings.root / "a.h5", reconstruction_esc=volume)
    whole = path.read_bytes()

    path.write_bytes(whole[: len(whole) // 2])
    refused(lambda: FastMRIReader().read((path,)), str(path), "truncated", "copy the file again")
    path.write_bytes(b"")
    refused(lambda: FastMRIReader().read((path,)), str(path), "expected it to be readable")
    write_fastmri(path, mask=np.ones(3))
    refused(lambda: FastMRIReader().read((path,)), str(path), "kspace", "got ismrmrd_header, mask", "test sets")
    write_fastmri(path, reconstruction_esc=volume[0])
    refused(lambda: FastMRIReader().read((path,)), str(path), "reconstruction_esc", "[S, H, W]", "[20, 24]")
    path.unlink()
    refused(lambda: FastMRIReader().read((path,)), str(path), "expected it to be readable")


def test_nothing_to_read(settings, refused, write_fastmri, volume):
    refused(lambda: find_fastmri(settings), str(settings.root), "fastMRI files *.h5", "data.root")
    write_fastmri(settings.root / "a.h5", reconstruction_esc=volume)
    chosen = data_settings("fastmri", settings.root, include=["b*"])
    refused(lambda: find_fastmri(chosen), "data.include", "'b*'", "'a.h5'", "correct the pattern")
    shutil.rmtree(settings.root)
    refused(lambda: find_fastmri(settings), "knee", "mount the data")


@pytest.mark.parametrize(
    ("header", "spacing"),
    [
        ("<ismrmrdHeader/>", (1, 1, 1)),
        (HEADER, (2, 1, 4)),
        (HEADER.replace("<x>40", "<x>-40"), (1, 1, 1)),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + HEADER, (1, 1, 1)),
        (HEADER[:-5], (1, 1, 1)),
    ],
)
def test_spacing_of_the_header(settings, volume, write_fastmri, header, spacing):
    path = write_fastmri(settings.root / "a.h5", reconstruction_esc=volume)
    with h5py.File(path, "r+") as file:
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = header
    geometry = find_fastmri(settings)[0].image.geometry()
    assert geometry.spacing == spacing and geometry.affine is None and geometry.shape == (20, 24, 6)
