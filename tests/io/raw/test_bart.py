# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""BART's .cfl and .hdr."""

import shutil
import subprocess

import numpy as np
import pytest

from flare_mri.io.raw.read import read_raw
from flare_mri.io.raw.samples import write_bart


def test_a_scan_comes_back(tmp_path, scan):
    path = write_bart(tmp_path / "a.cfl", scan.kspace)
    for name in (path, path.with_suffix(".hdr")):
        read = read_raw(name)
        np.testing.assert_array_equal(read.kspace, scan.kspace)
        assert read.fully_sampled and read.target is not None and read.geometry is None and read.field_of_view is None


def test_missing_lines(tmp_path, scan):
    lines = np.isin(np.arange(20), [1, 4, 7, 9, 10, 11, 13, 16, 19])
    read = read_raw(write_bart(tmp_path / "a.cfl", scan.kspace * lines))
    np.testing.assert_array_equal(read.mask, np.broadcast_to(lines, (3, 24, 20)))


def test_two_phase_encodings(tmp_path, scan):
    """A readout of one sample, as of a 3D scan that was transformed along it; the first axis is the fastest."""
    stored = scan.kspace[0].transpose(1, 2, 0)  # [24, 20, coils]
    (tmp_path / "a.hdr").write_text("# Dimensions\n1 24 20 3 1 1 1 1 1 1 1 1 1 1 1 1 \n# Command\nfft -u 7 a b\n")
    stored.ravel(order="F").astype("<c8").tofile(tmp_path / "a.cfl")
    np.testing.assert_array_equal(read_raw(tmp_path / "a.cfl").kspace[0], scan.kspace[0])


@pytest.mark.skipif(not shutil.which("bart"), reason="no bart")
def test_the_phantom_of_bart(tmp_path):
    subprocess.run(["bart", "phantom", "-k", "-s", "4", "-x", "32", tmp_path / "k"], check=True, capture_output=True)
    read = read_raw(tmp_path / "k.cfl")
    assert read.kspace.shape == (1, 4, 32, 32) and read.fully_sampled and read.notes == ()
    for command in (("fft", "-u", "-i", "3", "k", "i"), ("rss", "8", "i", "r")):
        subprocess.run(["bart", *command], check=True, capture_output=True, cwd=tmp_path)
    image = np.fromfile(tmp_path / "r.cfl", "<c8").reshape(32, 32, order="F").real
    np.testing.assert_allclose(read.target[0], image, atol=1e-4 * image.max())


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("", ("'# Dimensions'",)),
        ("# Dimensions\n", ("'# Dimensions'",)),
        ("# Dimensions\n24 20 one 3\n", ("'# Dimensions'",)),
        ("# Dimensions\n24 -20 1 3\n", ("'# Dimensions'",)),
        ("# Dimensions\n24 20 1 3 1 1 1 1 1 1 1 1 1 4\n", ("expected 46080 bytes", "got 34560")),
        ("# Dimensions\n24 20 9 3\n", ("2D k-space", "24 x 20 x 9", "bart")),
        ("# Dimensions\n24 1 1 3\n", ("2D k-space",)),
        ("# Dimensions\n24 20 1 3 1 3\n", ("axis 5 (echo times)", "got 3")),
        ("# Dimensions\n24 20 1 3 1 1 1 1 1 1 3\n", ("axis 10 (times)",)),
        ("# Dimensions\n24 20 1 3 1 1 1 1 1 1 1 1 1 1 3\n", ("axis 14 (averages)",)),
        ("# Dimensions\n24 20 1 0\n", ("sizes above 0",)),
        ("# Dimensions\n99999999 99999999 1 3\n", ("at most",)),
        ("# Dimensions\n" + "1 " * 70, ("'# Dimensions'",)),
    ],
)
def test_bad_headers(tmp_path, scan, refused, header, words):
    path = write_bart(tmp_path / "a.cfl", scan.kspace)
    path.with_suffix(".hdr").write_text(header)
    refused(lambda: read_raw(path), str(tmp_path / "a."), *words)


def test_bad_values(tmp_path, scan, refused):
    path = write_bart(tmp_path / "a.cfl", scan.kspace)
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    refused(lambda: read_raw(path), str(path), "got 34552", "copy both files")
    path.write_bytes(b"")
    refused(lambda: read_raw(path), str(path), "got 0")
    path.write_bytes(np.float32(np.nan).tobytes() + whole[4:])
    refused(lambda: read_raw(path), str(path), "finite k-space")
    path.unlink()
    refused(lambda: read_raw(path), str(path), "no such file beside its .hdr")
    path.write_bytes(whole)
    path.with_suffix(".hdr").unlink()
    refused(lambda: read_raw(path), str(path.with_suffix(".hdr")), "no such file")
