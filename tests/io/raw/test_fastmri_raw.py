# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""fastMRI files with their k-space."""

import h5py
import numpy as np
import pytest

from flare_mri.io.fastmri import FastMRIReader
from flare_mri.io.raw.build import make_target
from flare_mri.io.raw.fastmri_file import read_fastmri_raw
from flare_mri.io.raw.read import read_raw
from flare_mri.io.raw.samples import make_header, sample_scan, write_fastmri_raw

LINES = np.isin(np.arange(20), [0, 4, 8, 9, 10, 11, 12, 16])


def oversampled(kspace):
    """The same image between air, twice as high, by NumPy."""
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, (2, 3)), norm="ortho"), (2, 3))
    height = kspace.shape[2]
    image = np.pad(image, ((0, 0), (0, 0), (height // 2, height - height // 2), (0, 0)))
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, (2, 3)), norm="ortho"), (2, 3))


def test_training_layout(tmp_path, scan):
    target = make_target(scan.kspace)
    path = write_fastmri_raw(tmp_path / "a.h5", scan.kspace, target=target, header=make_header((24, 20)))
    read = read_raw(path)
    np.testing.assert_array_equal(read.kspace, scan.kspace)
    np.testing.assert_array_equal(read.target, target)
    assert read.fully_sampled and read.mask.all() and read.notes == () and read.geometry is None
    assert read.field_of_view == (240, 200, 5)


def test_without_header_and_target(tmp_path, scan):
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", scan.kspace))
    assert read.field_of_view is None and read.geometry is None
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(scan.kspace, (2, 3)), norm="ortho"), (2, 3))
    np.testing.assert_allclose(read.target, np.sqrt((np.abs(image) ** 2).sum(1)), rtol=1e-4)


def test_single_coil(tmp_path, scan):
    kspace = scan.kspace[:, 0]
    path = write_fastmri_raw(tmp_path / "a.h5", kspace, target=make_target(scan.kspace[:, :1]))
    read = read_raw(path)
    assert read.kspace.shape == (3, 1, 24, 20) and read.target is not None and read.notes == ()


@pytest.mark.parametrize("shape", [(20,), (1, 20), (24, 20), (1, 1, 1, 20), (3, 1, 24, 20), (1, 1, 24, 20)])
@pytest.mark.parametrize("kind", [bool, np.uint8, np.float32])
def test_test_layout(tmp_path, scan, shape, kind):
    mask = np.broadcast_to(LINES, shape).astype(kind)
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", scan.kspace * LINES, mask=mask))
    np.testing.assert_array_equal(read.mask, np.broadcast_to(LINES, (3, 24, 20)))
    assert not read.fully_sampled and read.target is None and read.centre == (24, 5) and read.notes == ()


def test_a_mask_in_two_dimensions(tmp_path):
    scan = sample_scan(np.random.default_rng(3), (1, 32, 40), coils=2)
    mask = np.random.default_rng(0).random((32, 40)) < 0.3
    mask[12:20, 16:24] = True
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", scan.kspace * mask, mask=mask[None, None]))
    np.testing.assert_array_equal(read.mask[0], mask)
    assert read.centre[0] >= 8 and read.centre[1] >= 8 and not read.fully_sampled


def test_the_mask_comes_from_zeros_where_there_is_none(tmp_path, scan):
    kspace = scan.kspace * LINES
    kspace[1, :, 3, 8] = 0  # one sample that is 0 in all coils is no missing sample
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", kspace))
    np.testing.assert_array_equal(read.mask, np.broadcast_to(LINES, (3, 24, 20)))


def test_zeros_on_both_sides_are_a_full_scan(tmp_path, scan):
    kspace = scan.kspace.copy()
    kspace[..., :2] = kspace[..., -1:] = 0
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", kspace))
    assert read.fully_sampled and read.target is not None and not read.mask[..., 0].any()
    kspace[..., :7] = 0
    partial = read_raw(write_fastmri_raw(tmp_path / "a.h5", kspace))
    assert not partial.fully_sampled and any("partial Fourier" in note for note in partial.notes)


def test_outer_lines_that_a_mask_claims(tmp_path, scan):
    kspace = scan.kspace * LINES
    kspace[..., 0] = 0
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", kspace, mask=LINES))
    assert not read.mask[..., 0].any() and read.mask[..., 4].all()
    assert any("outer samples of the mask are 0" in note for note in read.notes)


@pytest.mark.parametrize("masked", [False, True])
def test_readout_oversampling(tmp_path, scan, masked):
    wide = oversampled(scan.kspace) * (LINES if masked else 1)
    header = make_header((24, 20), oversampling=2)
    mask = LINES if masked else None
    target = None if masked else make_target(scan.kspace)
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", wide, mask=mask, target=target, header=header))
    np.testing.assert_allclose(read.kspace, scan.kspace * (LINES if masked else 1), atol=2e-6)
    assert read.notes == ("readout oversampling removed: 48 samples to 24",)
    assert read.field_of_view == (240, 200, 5)
    if target is not None:
        np.testing.assert_array_equal(read.target, target)


def test_a_target_of_another_size_or_scan(tmp_path, scan):
    own = make_target(scan.kspace)
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", scan.kspace, target=own[:, 2:-2]))
    np.testing.assert_allclose(read.target, own, rtol=1e-5)
    assert any("[3, 20, 20]" in note and "not used" in note for note in read.notes)
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", scan.kspace, target=np.roll(own, 12, 1)))
    np.testing.assert_allclose(read.target, own, rtol=1e-5)
    assert any("differ from those of k-space" in note for note in read.notes)


def test_stored_images_of_undersampled_k_space_are_no_target(tmp_path, scan):
    """Those of the full scan are, though its k-space was undersampled afterwards."""
    fewer = scan.kspace * LINES
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", fewer, target=3 * make_target(fewer)))
    assert read.target is None and any("aliasing and all: not used" in note for note in read.notes)
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", fewer, target=make_target(scan.kspace)))
    np.testing.assert_allclose(read.target, make_target(scan.kspace), rtol=1e-5)
    assert not read.fully_sampled


def test_magnitudes_given_as_raw(tmp_path, refused):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["reconstruction_esc"] = np.ones((2, 8, 8), np.float32)
    refused(lambda: read_raw(path), str(path), "finished magnitudes alone (reconstruction_esc)", "with k-space")
    with h5py.File(path, "w") as file:
        file["kspace"] = np.ones((2, 8, 8), np.float32)
    refused(lambda: read_raw(path), str(path), "expected complex numbers", "magnitudes?")
    magnitudes = np.zeros((2, 3, 32, 32), np.complex64)
    magnitudes[..., 8:24, 8:24] = 1
    write_fastmri_raw(path, magnitudes)
    refused(lambda: read_raw(path), str(path), "without an imaginary part", "magnitudes?")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_values_that_are_not_finite(tmp_path, scan, refused, value):
    scan.kspace[2, 1, 3, 3] = value
    path = write_fastmri_raw(tmp_path / "a.h5", scan.kspace)
    refused(lambda: read_raw(path), str(path), "kspace: slice 2", "finite k-space")


def test_a_mask_that_contradicts_the_zeros(tmp_path, scan, refused):
    path = write_fastmri_raw(tmp_path / "a.h5", scan.kspace, mask=LINES)
    refused(lambda: read_raw(path), str(path), "mask", "to be 0 where it was not measured")
    fewer = scan.kspace * LINES
    fewer[..., 10] = 0
    path = write_fastmri_raw(tmp_path / "a.h5", fewer, mask=LINES)
    refused(lambda: read_raw(path), str(path), "mask", "other than 0 where it was measured")


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones(19), ("[W], [H, W]", "[19]")),
        (np.ones((3, 3, 24, 20)), ("[3, 3, 24, 20]",)),
        (np.full(20, 0.5), ("0 and 1",)),
        (np.full(20, b"x"), ("0 and 1",)),
        (np.zeros((0,)), ("0 and 1",)),
    ],
)
def test_bad_masks(tmp_path, scan, refused, mask, words):
    path = write_fastmri_raw(tmp_path / "a.h5", scan.kspace, mask=mask)
    refused(lambda: read_raw(path), f"{path}: mask", *words)


def test_header_and_kspace_that_disagree(tmp_path, scan, refused):
    path = write_fastmri_raw(tmp_path / "a.h5", scan.kspace, header=make_header((32, 20), oversampling=2))
    refused(lambda: read_raw(path), str(path), "the 64 samples a line", "got 24")
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", scan.kspace, header=make_header((24, 24))))
    assert read.field_of_view is None and any("20 lines, its ismrmrd_header 24" in note for note in read.notes)


def test_nothing_measured(tmp_path, scan, refused):
    path = write_fastmri_raw(tmp_path / "a.h5", 0 * scan.kspace)
    refused(lambda: read_raw(path), str(path), "zeros alone")


def test_truncated_and_other_files(tmp_path, scan, refused):
    path = write_fastmri_raw(tmp_path / "a.h5", scan.kspace)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000])
    refused(lambda: read_raw(path), str(path), "copy the file again")
    path.write_bytes(b"no HDF5")
    refused(lambda: read_raw(path), str(path), "expected a raw scan")
    with h5py.File(path, "w") as file:
        file["else"] = 1
    refused(lambda: read_raw(path), str(path), "expected `kspace`", "got else")


def test_the_magnitude_route_reads_the_same_images(tmp_path, scan):
    path = write_fastmri_raw(tmp_path / "a.h5", scan.kspace)
    images, _ = FastMRIReader().read((path,))
    np.testing.assert_allclose(np.moveaxis(images, -1, 0), read_fastmri_raw(path).target, rtol=1e-5)


@pytest.mark.parametrize("header", ["", "<ismrmrdHeader", '<!DOCTYPE a [<!ENTITY b "c">]>' + make_header((24, 20))])
def test_a_header_that_cannot_be_read_is_said(tmp_path, scan, header):
    read = read_raw(write_fastmri_raw(tmp_path / "a.h5", scan.kspace, header=header))
    assert read.field_of_view is None and any("ismrmrd_header cannot be read" in note for note in read.notes)
