# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Files of the official ISMRMRD tools are read to what the official reconstruction makes of them."""

import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from flare_mri.io.raw.build import make_target
from flare_mri.io.raw.ismrmrd_file import read_ismrmrd

STORED = Path(__file__).parents[2] / "data" / "ismrmrd_tools_shepp_logan.h5"
GENERATE, RECONSTRUCT = "ismrmrd_generate_cartesian_shepp_logan", "ismrmrd_recon_cartesian_2d"
needs_tools = pytest.mark.skipif(not shutil.which(GENERATE), reason="no ismrmrd-tools")


def generate(path: Path, *options: object) -> Path:
    subprocess.run([GENERATE, *map(str, options), "-o", path], check=True, capture_output=True)
    return path


def reconstruct(path: Path) -> Path:
    """A copy of the file, with the image: the tool opens its file for writing."""
    done = path.with_stem(f"{path.stem}_done")
    shutil.copy(path, done)
    subprocess.run([RECONSTRUCT, done], check=True, capture_output=True)
    return done


def compare(path: Path, done: Path) -> None:
    scan = read_ismrmrd(path, prewhiten=False)
    with h5py.File(done) as file:
        image = file["dataset/cpp/data"][0, 0, 0].T  # stored with the readout fastest
        text = file["dataset/xml"][0].decode()
    samples = [int(text.split(f"<{axis}>")[1].split("<")[0]) for axis in "xy"]
    ours = make_target(scan.kspace)[0] * np.sqrt(np.prod(samples))  # the tool's transform is not orthonormal
    assert ours.shape == image.shape
    assert np.abs(ours - image).max() <= 1e-3 * image.max()


def test_the_stored_file_gives_the_stored_image():
    compare(STORED, STORED)


@needs_tools
@pytest.mark.parametrize("matrix", [32, 50])
@pytest.mark.parametrize("coils", [1, 8])
@pytest.mark.parametrize("noise", [0, 0.05, 0.5])
def test_coils_sizes_and_noise(tmp_path, matrix, coils, noise):
    path = generate(tmp_path / "a.h5", "-m", matrix, "-c", coils, "-n", noise)
    compare(path, reconstruct(path))


@needs_tools
@pytest.mark.parametrize("oversampling", [1, 2])
@pytest.mark.parametrize("acceleration", [1, 2, 4])
@pytest.mark.parametrize("calibration", [0, 12])
@pytest.mark.parametrize("options", [(), ("-C",)])
def test_accelerated_scans_interleaved_in_time(tmp_path, oversampling, acceleration, calibration, options):
    path = generate(
        tmp_path / "a.h5", "-m", 48, "-c", 4, "-O", oversampling, "-a", acceleration, "-w", calibration, *options
    )
    compare(path, reconstruct(path))


@needs_tools
@pytest.mark.parametrize(("acceleration", "calibration"), [(2, 0), (3, 10), (4, 16)])
def test_one_accelerated_repetition(tmp_path, acceleration, calibration):
    whole = generate(tmp_path / "a.h5", "-m", 64, "-c", 4, "-a", acceleration, "-w", calibration)
    path = tmp_path / "b.h5"
    with h5py.File(whole) as file, h5py.File(path, "w") as part:
        rows = file["dataset/data"][:]
        chosen = rows[rows["head"]["idx"]["repetition"] == 1]
        part.create_dataset("dataset/data", data=chosen, maxshape=(None,), chunks=(1,))
        file.copy("dataset/xml", part["dataset"])
    compare(path, reconstruct(path))
    scan = read_ismrmrd(path)
    lines = np.arange(64)
    wanted = (lines % acceleration == 1) | (np.abs(lines - 32 + 0.5) < calibration / 2)
    np.testing.assert_array_equal(scan.mask[0], np.broadcast_to(wanted, (64, 64)))
    assert not scan.fully_sampled and scan.target is None and scan.centre[1] >= calibration


@needs_tools
def test_a_series_in_time_is_refused(tmp_path, refused):
    path = generate(tmp_path / "a.h5", "-m", 32, "-c", 2, "-r", 3)
    refused(lambda: read_ismrmrd(path), str(path), "one repetition", "got 3", "idx.repetition", "a file of its own")
