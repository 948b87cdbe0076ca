# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""ISMRMRD files: where lines and slices land, averages, noise, geometry."""

import h5py
import numpy as np
import pytest

from flare_mri.datasets.phantom_kspace import simulate_coils
from flare_mri.io.raw.ismrmrd_file import read_ismrmrd
from flare_mri.io.raw.samples import Position, make_header, sample_scan, write_ismrmrd

AFFINE = [[-10, 0, 0, 110], [0, -10, 0, 120], [0, 0, 5, 30], [0, 0, 0, 1]]  # of `Position()` at 24 x 20


def change(path, edit):
    """Changes the acquisitions of a file, structured array [N], in place or by a new one."""
    with h5py.File(path, "r+") as file:
        rows = file["dataset/data"][:]
        changed = edit(rows)
        if changed is not None:
            file["dataset/data"].resize((len(changed),))
            rows = changed
        file["dataset/data"][:] = rows


def test_a_whole_scan_comes_back(tmp_path, scan):
    read = read_ismrmrd(write_ismrmrd(tmp_path / "a.h5", scan.kspace))
    assert read.kspace.dtype == np.complex64 and read.mask.dtype == bool
    np.testing.assert_allclose(read.kspace, scan.kspace, atol=2e-6)
    assert read.mask.shape == (3, 24, 20) and read.mask.all() and read.fully_sampled and read.acceleration == 1
    assert read.centre == (24, 20) and read.field_of_view == (240, 200, 5) and not read.whitened
    np.testing.assert_allclose(read.geometry, AFFINE, atol=1e-4)
    assert read.notes == ("readout oversampling removed: 48 samples to 24",)
    noiseless = np.abs(scan.images)
    assert np.abs(read.target - noiseless).max() < 0.15 * noiseless.max()


@pytest.mark.parametrize("shape", [(1, 25, 21), (2, 31, 16), (4, 18, 33)])
@pytest.mark.parametrize("oversampling", [1, 2, 3])
def test_odd_sizes(tmp_path, shape, oversampling):
    kspace = sample_scan(np.random.default_rng(1), shape, coils=2).kspace
    read = read_ismrmrd(write_ismrmrd(tmp_path / "a.h5", kspace, oversampling=oversampling))
    np.testing.assert_allclose(read.kspace, kspace, atol=2e-6)


def test_missing_lines_are_zeros(tmp_path, scan):
    lines = np.isin(np.arange(20), [0, 3, 6, 8, 9, 10, 11, 15, 18])
    read = read_ismrmrd(write_ismrmrd(tmp_path / "a.h5", scan.kspace, lines))
    np.testing.assert_array_equal(read.mask, np.broadcast_to(lines, (3, 24, 20)))
    np.testing.assert_allclose(read.kspace, scan.kspace * lines, atol=2e-6)
    assert (read.kspace[..., ~lines] == 0).all() and read.target is None and not read.fully_sampled
    assert read.centre == (24, 4) and read.acceleration == pytest.approx(20 / 9)


def test_partial_fourier_is_said(tmp_path, scan):
    read = read_ismrmrd(write_ismrmrd(tmp_path / "a.h5", scan.kspace, np.arange(6, 20)))
    assert not read.mask[0, 0, :6].any() and read.mask[0, :, 6:].all() and not read.fully_sampled
    assert any("partial Fourier" in note and "7 to 20 of 20" in note for note in read.notes)


def test_the_centre_of_the_limits_counts(tmp_path, scan):
    header = make_header((24, 20), oversampling=2, slices=3, centre=6)  # lines 0 to 15 of a partial Fourier scan
    path = write_ismrmrd(tmp_path / "a.h5", scan.kspace[..., 4:], header=header)
    read = read_ismrmrd(path)
    np.testing.assert_allclose(read.kspace[..., 4:], scan.kspace[..., 4:], atol=2e-6)
    assert (read.kspace[..., :4] == 0).all()


def test_a_partial_echo(tmp_path, scan):
    path = write_ismrmrd(tmp_path / "a.h5", scan.kspace, oversampling=1)

    def cut(rows):
        for row in rows:
            samples = row["data"].view(np.complex64).reshape(3, 24)
            row["data"] = np.ascontiguousarray(samples[:, 6:]).view(np.float32).ravel()
        rows["head"]["number_of_samples"], rows["head"]["center_sample"] = 18, 6

    change(path, cut)
    read = read_ismrmrd(path)
    assert not read.mask[:, :6].any() and read.mask[:, 6:].all()
    np.testing.assert_allclose(read.kspace[:, :, 6:], scan.kspace[:, :, 6:], atol=2e-6)
    assert (read.kspace[:, :, :6] == 0).all() and any("partial Fourier" in note for note in read.notes)


def test_samples_to_discard(tmp_path, scan):
    path = write_ismrmrd(tmp_path / "a.h5", scan.kspace, oversampling=1)

    def pad(rows):
        for row in rows:
            samples = row["data"].view(np.complex64).reshape(3, 24)
            row["data"] = np.pad(samples, ((0, 0), (2, 1)), constant_values=7).view(np.float32).ravel()
        head = rows["head"]
        head["number_of_samples"], head["center_sample"], head["discard_pre"], head["discard_post"] = 27, 14, 2, 1

    change(path, pad)
    np.testing.assert_allclose(read_ismrmrd(path).kspace, scan.kspace, atol=2e-6)


def test_any_order_of_acquisitions(tmp_path, scan):
    path = write_ismrmrd(tmp_path / "a.h5", scan.kspace)
    before = read_ismrmrd(path)
    change(path, lambda rows: np.random.default_rng(0).permutation(rows))
    np.testing.assert_array_equal(read_ismrmrd(path).kspace, before.kspace)
    np.testing.assert_array_equal(read_ismrmrd(path).geometry, before.geometry)


def test_averages_over_what_was_measured(tmp_path, scan):
    path = write_ismrmrd(tmp_path / "a.h5", scan.kspace, averages=2, oversampling=1)

    def weigh(rows):
        for row in rows:
            row["data"] = row["data"] * (3 if row["head"]["idx"]["average"] else 1)
        head = rows["head"]["idx"]
        return rows[(head["average"] == 0) | (head["kspace_encode_step_1"] < 12)]

    change(path, weigh)
    read = read_ismrmrd(path)
    np.testing.assert_allclose(read.kspace[..., :12], 2 * scan.kspace[..., :12], rtol=1e-5)
    np.testing.assert_allclose(read.kspace[..., 12:], scan.kspace[..., 12:], rtol=1e-5)
    assert any("2 averages combined" in note for note in read.notes)


def test_prewhitening_makes_noise_white(tmp_path):
    rng = np.random.default_rng(2)
    scan = simulate_coils(np.zeros((4, 64, 64)) + 1e-6, rng, coils=4, snr=1e-3)  # noise alone, correlated
    before = scan.kspace[:, :, :16, :16].transpose(1, 0, 2, 3).reshape(4, -1)
    assert np.abs(np.corrcoef(before) - np.eye(4)).max() > 0.2
    read = read_ismrmrd(write_ismrmrd(tmp_path / "a.h5", scan.kspace, noise=scan.noise))
    after = read.kspace.transpose(1, 0, 2, 3).reshape(4, -1)
    np.testing.assert_allclose(after @ after.conj().T / after.shape[1], np.eye(4), atol=0.1)
    assert read.whitened and any("prewhitened" in note for note in read.notes)
    plain = read_ismrmrd(tmp_path / "a.h5", prewhiten=False)
    np.testing.assert_allclose(plain.kspace, scan.kspace, atol=1e-5 * np.abs(scan.kspace).max())
    assert not plain.whitened


def test_noise_of_another_bandwidth(tmp_path, scan):
    path = write_ismrmrd(tmp_path / "a.h5", scan.kspace, noise=scan.noise)
    before = read_ismrmrd(path).kspace

    def slower(rows):
        noise = rows[0]["head"]
        noise["sample_time_us"] = 20  # four times as long a sample: half the standard deviation
        rows[0]["data"] = rows[0]["data"] / 2
        rows[0]["head"] = noise

    change(path, slower)
    np.testing.assert_allclose(read_ismrmrd(path).kspace, before, rtol=1e-4, atol=1e-4)


def test_navigators_and_separate_calibration_are_left_out(tmp_path, scan):
    path = write_ismrmrd(tmp_path / "a.h5", scan.kspace)
    whole = read_ismrmrd(path).kspace

    def add(rows):
        more = rows[:6].copy()
        for row in more:
            row["data"] = row["data"] + 100
        more["head"]["flags"] = [1 << 22, 1 << 23, 1 << 25, 1 << 26, 1 << 19, 1 << 19]
        return np.concatenate([more, rows])

    change(path, add)
    read = read_ismrmrd(path)
    np.testing.assert_array_equal(read.kspace, whole)
    assert any("2 lines for calibration left out" in note for note in read.notes)


def test_oblique_slices(tmp_path, scan):
    angle = np.deg2rad(30)
    place = Position((5, 6, 7), (np.cos(angle), np.sin(angle), 0), (-np.sin(angle), np.cos(angle), 0), (0.0, 0.0, -1.0))
    read = read_ismrmrd(write_ismrmrd(tmp_path / "a.h5", scan.kspace, position=place))
    lps = np.diag([-1, -1, 1, 1]) @ read.geometry
    np.testing.assert_allclose((lps @ [12, 10, 0, 1])[:3], (5, 6, 7), atol=1e-4)
    np.testing.assert_allclose((lps @ [12, 10, 2, 1])[:3], (5, 6, -3), atol=1e-4)
    np.testing.assert_allclose(lps[:3, 0], 10 * np.array(place.read), atol=1e-4)
    np.testing.assert_allclose(lps[:3, 1], 10 * np.array(place.phase), atol=1e-4)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("read_dir", (0, 1, 0), "right angles"),
        ("slice_dir", (0, 0, 3), "right angles"),
        ("read_dir", (np.nan, 0, 0), "not finite"),
        ("position", (0, 0, 0), "no even distances"),
        ("position", (1e9, 0, 0), "no even distances"),
    ],
)
def test_geometry_is_never_guessed(tmp_path, scan, field, value, why):
    path = write_ismrmrd(tmp_path / "a.h5", scan.kspace)

    def spoil(rows):
        rows["head"][field] = value

    change(path, spoil)
    read = read_ismrmrd(path)
    assert read.geometry is None and any("no geometry" in note and why in note for note in read.notes)
    assert read.field_of_view == (240, 200, 5)


def test_no_directions_no_geometry(tmp_path, scan):
    zero = (0.0, 0.0, 0.0)
    path = write_ismrmrd(tmp_path / "a.h5", scan.kspace, position=Position(zero, zero, zero, zero))
    assert read_ismrmrd(path).geometry is None


def test_a_single_slice_is_as_thick_as_the_header_says(tmp_path, scan):
    read = read_ismrmrd(write_ismrmrd(tmp_path / "a.h5", scan.kspace[:1], mm=(240, 200, 7)))
    np.testing.assert_allclose(read.geometry[:3, 2], (0, 0, 7), atol=1e-5)


def test_phase_oversampling_stays_and_is_said(tmp_path, scan):
    header = make_header((24, 20), oversampling=2, slices=3)
    before, after = header.split("<reconSpace>")
    path = write_ismrmrd(
        tmp_path / "a.h5", scan.kspace, header=f"{before}<reconSpace>{after.replace('200.0', '150.0')}"
    )
    read = read_ismrmrd(path)
    assert read.kspace.shape[3] == 20 and read.field_of_view == (240, 200, 5)
    assert any("phase oversampling stays: 200 mm along W" in note for note in read.notes)
