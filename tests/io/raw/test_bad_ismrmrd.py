# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""ISMRMRD files that cannot be used are refused in one line with the file, what is wrong and the fix."""

import sys

import h5py
import numpy as np
import pytest

from flare_mri.io.raw.ismrmrd_file import read_ismrmrd
from flare_mri.io.raw.read import read_raw
from flare_mri.io.raw.samples import make_header, write_ismrmrd


@pytest.fixture
def path(tmp_path, scan):
    return write_ismrmrd(tmp_path / "a.h5", scan.kspace, noise=scan.noise)


def heads(path, rows, **values):
    """Sets fields of the headers of some acquisitions."""
    with h5py.File(path, "r+") as file:
        stored = file["dataset/data"][:]
        head = stored["head"][rows]
        for name, value in values.items():
            (head["idx"] if name in head["idx"].dtype.names else head)[name] = value
        stored["head"][rows] = head
        file["dataset/data"][:] = stored


def xml(path, text):
    with h5py.File(path, "r+") as file:
        del file["dataset/xml"]
        file["dataset"].create_dataset("xml", data=[text.encode()], dtype=h5py.string_dtype())


def test_truncated_and_empty_files(path, refused):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(lambda: read_raw(path), str(path), "truncated", "copy the file again")
    path.write_bytes(b"")
    refused(lambda: read_raw(path), str(path), "an empty file", "copy the file again")
    path.unlink()
    refused(lambda: read_raw(path), str(path), "no such file")


def test_no_acquisitions(tmp_path, path, refused):
    with h5py.File(path, "r+") as file:
        file["dataset/data"].resize((0,))
    refused(lambda: read_ismrmrd(path), str(path), "expected a list of 1 to", "got [0]")


def test_noise_alone(path, refused):
    with h5py.File(path, "r+") as file:
        file["dataset/data"].resize((1,))
    refused(lambda: read_ismrmrd(path), str(path), "expected acquisitions of an image", "leave the file out")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"number_of_samples": 40}, ("acquisition 1", "3 coils x 40", "got 144")),
        ({"discard_post": 8}, ("one readout", "discard_post 0, 8")),
        ({"center_sample": 3}, ("one readout", "center_sample 3, 24")),
        ({"active_channels": 2, "number_of_samples": 72}, ("same coils", "2, 3")),
        ({"active_channels": 60000, "number_of_samples": 60000}, ("bytes of samples", "a file of")),
        ({"kspace_encode_step_1": 20}, ("within the 20", "idx.kspace_encode_step_1 20")),
        ({"kspace_encode_step_2": 1}, ("partitions (3D)",)),
        ({"contrast": 1}, ("one contrast, got 2", "idx.contrast", "a file of its own")),
        ({"phase": 1}, ("one phase, got 2",)),
        ({"set": 2}, ("one set, got 2",)),
        ({"slice": 9}, ("the 3 slices", "got 4")),
        ({"encoding_space_ref": 1}, ("one encoding space",)),
        ({"flags": 1 << 21}, ("in reverse (EPI)",)),
    ],
)
def test_header_and_data_that_disagree(path, refused, values, words):
    heads(path, slice(1, 2), **values)
    refused(lambda: read_ismrmrd(path), str(path), *words)


def test_repetitions_of_the_same_lines(path, refused):
    with h5py.File(path, "r+") as file:
        rows = file["dataset/data"][:]
        again = rows[1:].copy()
        again["head"]["idx"]["repetition"] = 1
        file["dataset/data"].resize((len(rows) + len(again),))
        file["dataset/data"][len(rows) :] = again
    refused(lambda: read_ismrmrd(path), str(path), "one repetition, got 2", "idx.repetition")


def test_a_line_longer_than_the_matrix(path, refused):
    xml(path, make_header((16, 20), oversampling=2, slices=3))
    refused(lambda: read_ismrmrd(path), str(path), "at most 32 samples a line", "got 48")


def test_fewer_samples_than_the_header_says(path, refused):
    with h5py.File(path, "r+") as file:
        row = file["dataset/data"][5]
        row["data"] = row["data"][:-2]
        file["dataset/data"][5] = row
    refused(lambda: read_ismrmrd(path), str(path), "acquisition 5", "3 coils x 48", "got 143")


@pytest.mark.parametrize("kind", ["radial", "spiral", "epi", "other"])
def test_not_cartesian(path, refused, kind):
    xml(path, make_header((24, 20), oversampling=2, slices=3, trajectory=kind))
    refused(lambda: read_ismrmrd(path), str(path), "'cartesian'", repr(kind), "the scanner's own software")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("no XML",)),
        ("<ismrmrdHeader", ("no XML",)),
        ("<html/>", ("'html'",)),
        ("<ismrmrdHeader/>", ("'cartesian'",)),
        ('<!DOCTYPE a [<!ENTITY b "c">]><ismrmrdHeader/>', ("a document type",)),
        (make_header((24, 20)).replace("<z>1</z>", "<z>16</z>"), ("3D k-space with 16 partitions",)),
        (make_header((24, 20)).replace("<y>20</y>", "<y>-20</y>"), ("the matrix of the encoded space",)),
        (make_header((24, 20)).replace("<y>20</y>", "<y>99999999</y>"), ("the matrix of the encoded space",)),
        (
            make_header((24, 65535), oversampling=2, slices=3, centre=10),
            ("at least one line of 64", "export the whole scan"),
        ),
    ],
)
def test_bad_headers(path, refused, text, words):
    xml(path, text)
    refused(lambda: read_ismrmrd(path), str(path), *words)


def test_a_noise_scan_of_other_coils(path, refused):
    with h5py.File(path, "r+") as file:
        row = file["dataset/data"][0]
        row["head"]["active_channels"], row["data"] = 2, row["data"][: 2 * 2 * 2048]
        file["dataset/data"][0] = row
    refused(lambda: read_ismrmrd(path), str(path), "noise acquisition", "the 3 coils", "got 2", "take it out")
    assert read_ismrmrd(path, prewhiten=False).kspace.shape[1] == 3


def test_a_noise_scan_that_is_too_short(tmp_path, scan, refused):
    path = write_ismrmrd(tmp_path / "b.h5", scan.kspace, noise=scan.noise[:, :4])
    refused(lambda: read_ismrmrd(path), str(path), "noise acquisition", "at least 6 samples", "got 4")


def test_coils_that_are_copies(tmp_path, scan, refused):
    noise = scan.noise[[0, 1, 1]]
    path = write_ismrmrd(tmp_path / "b.h5", scan.kspace, noise=noise)
    refused(lambda: read_ismrmrd(path), str(path), "noise acquisition", "mixtures", "doubled coils")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_values_that_are_not_finite(tmp_path, scan, refused, value):
    scan.kspace[1, 1, 5, 5] = value
    path = write_ismrmrd(tmp_path / "b.h5", scan.kspace, oversampling=1)
    refused(lambda: read_ismrmrd(path), str(path), "expected finite k-space", "measure or export")


def test_a_missing_slice(tmp_path, path, refused):
    heads(path, slice(41, 61), slice=2)  # those of slice 1
    refused(lambda: read_ismrmrd(path), str(path), "expected lines of every slice", "slice 1")


def test_several_scans_in_a_file(path, refused):
    with h5py.File(path, "r+") as file:
        file.copy("dataset", "another")
    refused(lambda: read_ismrmrd(path), str(path), "one scan, got those of 2", "another, dataset")


def test_links_are_not_followed(tmp_path, path, refused):
    secret = tmp_path / "secret.h5"
    path.rename(secret)
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        group["data"] = h5py.ExternalLink(str(secret), "/dataset/data")
        group["xml"] = h5py.ExternalLink(str(secret), "/dataset/xml")
    refused(lambda: read_ismrmrd(path), str(path), "got a link")


def test_the_package_is_named_where_it_is_missing(path, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "ismrmrd", None)
    monkeypatch.setitem(sys.modules, "ismrmrd.hdf5", None)
    refused(lambda: read_ismrmrd(path), str(path), "the package ismrmrd", "pip install 'flare-mri[raw]'")
