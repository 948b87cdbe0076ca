# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Dead coils, wrong centring, and what counts as fully sampled, in every format."""

import numpy as np
import pytest

from flare_mri.io.raw.checks import check_size
from flare_mri.io.raw.read import read_raw
from flare_mri.io.raw.samples import sample_scan, write_bart, write_fastmri_raw, write_ismrmrd, write_raw_samples
from flare_mri.io.raw.sampling import is_complete
from flare_mri.io.raw.scan import RawScan

WRITERS = [write_fastmri_raw, write_ismrmrd, write_bart]


def write(writer, folder, kspace):
    return writer(folder / ("a.cfl" if writer is write_bart else "a.h5"), kspace)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_dead_coil_is_used_and_said(tmp_path, scan, writer):
    scan.kspace[:, 1] = 0
    read = read_raw(write(writer, tmp_path, scan.kspace))
    assert read.kspace.shape[1] == 3 and (read.kspace[:, 1] == 0).all()
    assert "coil 2 of 3 is dead: it measured nothing" in read.notes


def test_a_dead_coil_with_a_noise_scan(tmp_path, scan):
    scan.kspace[:, 1] = scan.noise[1] = 0
    read = read_raw(write_ismrmrd(tmp_path / "a.h5", scan.kspace, noise=scan.noise))
    assert read.whitened and (read.kspace[:, 1] == 0).all() and np.isfinite(read.kspace).all()
    assert "coil 2 of 3 is dead: it measured nothing" in read.notes


@pytest.mark.parametrize("writer", WRITERS)
def test_a_coil_of_noise_alone_is_said(tmp_path, writer):
    scan = sample_scan(np.random.default_rng(1), (2, 48, 40), coils=4)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 48, 40)) + 1j * rng.standard_normal((2, 48, 40))
    scan.kspace[:, 3] = 0.01 * noise
    read = read_raw(write(writer, tmp_path, scan.kspace))
    assert [note for note in read.notes if "coil" in note] == ["coil 4 of 4 is dead: it measured noise alone"]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("axes", [(2,), (3,), (2, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_kspace_that_is_not_centred(tmp_path, scan, refused, writer, axes, masked):
    kspace = scan.kspace * (np.isin(np.arange(20), [0, 3, 6, 8, 9, 10, 11, 15, 18]) if masked else 1)
    path = write(writer, tmp_path, np.fft.fftshift(kspace, axes))
    refused(lambda: read_raw(path), str(path), "zero frequency", "in its middle", "fftshift along")


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("axis", [2, 3])
def test_an_image_shifted_by_half_the_field(tmp_path, writer, axis):
    scan = sample_scan(np.random.default_rng(1), (2, 48, 40), coils=4)
    sign = (-1.0) ** np.arange(scan.kspace.shape[axis])
    shifted = scan.kspace * sign.reshape([-1 if place == axis else 1 for place in range(4)])
    read = read_raw(write(writer, tmp_path, shifted.astype(np.complex64)))
    wanted = f"shifted by half the field of view along {'HW'[axis - 2]}"
    assert sum(wanted in note for note in read.notes) == 1 and sum("shifted" in note for note in read.notes) == 1
    assert not any("shifted" in note for note in read_raw(write(writer, tmp_path, scan.kspace)).notes)


def centre_of(mask):
    return RawScan(np.zeros((1, 1, *mask.shape), np.complex64), mask[None]).centre


def block(rows, columns, shape=(32, 24)):
    mask = np.zeros(shape, bool)
    mask[rows[0] : rows[1], columns[0] : columns[1]] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "complete"),
    [
        (np.ones((32, 24), bool), True),
        (block((0, 32), (2, 23)), True),
        (block((4, 28), (3, 21)), True),
        (block((0, 32), (4, 24)), False),  # partial Fourier
        (block((6, 32), (0, 24)), False),
        (block((12, 20), (9, 15)), False),  # the centre alone
        (np.arange(24)[None] % 2 * np.ones((32, 1)) > 0, False),
        (np.zeros((32, 24), bool), False),
    ],
)
def test_fully_sampled(mask, complete):
    assert is_complete(mask) == complete


@pytest.mark.parametrize(
    ("mask", "size"),
    [
        (np.ones((32, 24), bool), (32, 24)),
        (block((0, 32), (9, 15)), (32, 6)),
        (block((0, 32), (10, 15)), (32, 5)),
        (block((12, 20), (0, 24)), (8, 24)),
        (block((12, 20), (9, 15)), (8, 6)),
        (block((0, 16), (0, 24)), (0, 0)),
        (np.zeros((31, 25), bool), (0, 0)),
    ],
)
def test_the_sampled_centre(mask, size):
    assert centre_of(mask) == size


def slow_block(mask):
    """The largest square about the middle, by trying all."""
    height, width = mask.shape
    found = 0
    for size in range(1, min(height, width) + 1):
        top, left = height // 2 - size // 2, width // 2 - size // 2
        if mask[top : top + size, left : left + size].all():
            found = size
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_sampled_centre_against_a_search(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(tuple(rng.integers(5, 30, 2))) < 0.97
    assert min(centre_of(mask)) == slow_block(mask)


@pytest.mark.parametrize("size", [(1, 1, 0, 8), (1, 2**20, 128, 128), (2**20, 1, 4096, 4096), (64, 64, 1024, 1024)])
def test_sizes_that_are_refused(size, refused):
    refused(lambda: check_size("a.h5", *size), "a.h5", "expected")


def test_the_samples_are_read(tmp_path):
    for name, path in write_raw_samples(tmp_path, np.random.default_rng(0)).items():
        read = read_raw(path)
        assert read.kspace.shape == (3, 3, 24, 20) and read.fully_sampled == (name == "fastmri")
        assert (read.kspace == read.kspace * read.mask[:, None]).all()
