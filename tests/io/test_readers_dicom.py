# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""DICOM series."""

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000, JPEGLSLossless

from data_files import data_settings, read_image
from flare_mri.io.dicom import find_dicom
from flare_mri.io.load import load_scan_file


@pytest.fixture
def settings(tmp_path):
    return data_settings("dicom", tmp_path)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 4000, (5, 16, 20), dtype=np.uint16)


def read(settings):
    (scan,) = find_dicom(settings)
    return np.moveaxis(read_image(scan), -1, 0)


def test_slices_are_ordered_by_position(settings, pixels, write_dicom, tmp_path):
    for place, name in enumerate("dbeac"):  # neither the names' nor the instance numbers' order
        position = [0, 0, -7.5 + 3 * place]
        write_dicom(tmp_path / "t1" / f"{name}.dcm", pixels[place], ImagePositionPatient=position, InstanceNumber=9)
    np.testing.assert_array_equal(read(settings), pixels)


def test_position_is_taken_along_the_slice_normal(settings, pixels, write_dicom, tmp_path):
    sagittal = [0, 1, 0, 0, 0, -1]  # rows run back, columns run down: the normal is -x
    for place, name in enumerate("dbeac"):
        tags = {"ImageOrientationPatient": sagittal, "ImagePositionPatient": [10 - 2 * place, 4, 80]}
        write_dicom(tmp_path / "t1" / f"{name}.dcm", pixels[place], **tags)
    np.testing.assert_array_equal(read(settings), pixels)


def test_without_positions_by_instance_number_then_by_name(settings, pixels, write_dicom, tmp_path):
    for place, name in enumerate("dbeac"):
        write_dicom(tmp_path / "t1" / name, pixels[place], InstanceNumber=20 - place)
    np.testing.assert_array_equal(read(settings), pixels[::-1])
    for place, name in enumerate("dbeac"):
        write_dicom(tmp_path / "t1" / name, pixels[place])
    np.testing.assert_array_equal(read(settings), pixels[[3, 1, 4, 0, 2]])


def test_rescale_is_applied(settings, pixels, write_dicom, tmp_path):
    write_dicom(tmp_path / "t1" / "1.dcm", pixels[0], RescaleSlope=2.5, RescaleIntercept=10)
    np.testing.assert_allclose(read(settings)[0], pixels[0] * 2.5 + 10)


def test_series_contrasts_and_subjects(settings, pixels, write_dicom, tmp_path):
    for series, patient in [("p1_t2", "P1"), ("p1_flair", "P1"), ("p2_t2", "P2"), ("unnamed_t2", None)]:
        write_dicom(tmp_path / series / "1.dcm", pixels[0], PatientID=patient)
    (tmp_path / "p1_t2" / "DICOMDIR").write_text("an index, not an image")
    (tmp_path / "p1_t2" / "notes.txt").write_text("not an image")
    assert [source.name for source in find_dicom(settings)] == ["p1_flair", "p1_t2", "p2_t2", "unnamed_t2"]
    chosen = find_dicom(data_settings("dicom", tmp_path, include=["*_t2"]))
    assert [(source.name, source.subject) for source in chosen] == [
        ("p1_t2", "P1"),
        ("p2_t2", "P2"),
        ("unnamed_t2", "unnamed_t2"),
    ]


def test_bad_series(settings, pixels, write_dicom, tmp_path, refused):
    write_dicom(tmp_path / "t1" / "1.dcm", pixels[0], ImagePositionPatient=[0, 0, 0])
    other = tmp_path / "t1" / "2.dcm"
    position = {"ImagePositionPatient": [0, 0, 5]}

    write_dicom(other, pixels[1, :8], **position)
    refused(lambda: read(settings), str(other), "16x20 as in 1.dcm", "got 8x20", "one series a folder")
    write_dicom(other, pixels[1], ImagePositionPatient=[3, 3, 0])
    refused(lambda: read(settings), str(other), "one image a position", "1.dcm", "one echo")
    write_dicom(other, pixels[1], Modality="CT", **position)
    refused(lambda: read(settings), str(other), "modality MR", "got CT")
    write_dicom(other, pixels[:2], NumberOfFrames=2, **position)
    refused(lambda: read(settings), str(other), "one grey frame", "2 frames", "NIfTI")
    write_dicom(other, pixels[1], PixelData=None, **position)
    refused(lambda: read(settings), str(other), "PixelData missing")
    write_dicom(other, pixels[1], PixelData=bytes(100), **position)
    refused(lambda: read(settings), str(other), "expected it to be readable")
    whole = write_dicom(other, pixels[1], **position).read_bytes()
    other.write_bytes(whole[: len(whole) // 2])
    refused(lambda: read(settings), str(other), "expected")
    for content in (b"", b"no DICOM file, whatever the name says" * 9):
        other.write_bytes(content)
        refused(lambda: read(settings), str(other), "a DICOM file", "take it out")


def test_a_compression_that_cannot_be_read(settings, pixels, write_dicom, tmp_path, refused):
    path = write_dicom(tmp_path / "t1" / "1.dcm", pixels[0])
    image = pydicom.dcmread(path)
    image.file_meta.TransferSyntaxUID = JPEG2000
    image.PixelData = encapsulate([b"not JPEG 2000"])
    image["PixelData"].is_undefined_length = True
    image.save_as(path)
    refused(lambda: read(settings), str(path), "expected it to be readable")


def test_nothing_to_read(settings, tmp_path, refused):
    refused(lambda: find_dicom(settings), str(tmp_path), "folders, one a DICOM series", "data.root")
    (tmp_path / "t1").mkdir()
    refused(lambda: find_dicom(settings), str(tmp_path / "t1"), "DICOM files")


@pytest.mark.parametrize(
    "orientation",
    [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [0.8, 0.6, 0, -0.6, 0.8, 0]],
    ids=["axial", "sagittal", "oblique"],
)
def test_the_affine_leads_every_pixel_to_its_place(settings, pixels, write_dicom, tmp_path, orientation):
    """DICOM's own equation (PS3.3 C.7.6.2.1.1) for a pixel of a file, in LPS."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal, first = np.cross(row, column), np.array([11.0, -7.0, 30.0])
    for number in range(5):
        tags = {"ImageOrientationPatient": orientation, "PixelSpacing": [0.5, 2]}
        place = list(first + 3 * number * normal)
        write_dicom(tmp_path / "t1" / f"{number}.dcm", pixels[number], ImagePositionPatient=place, **tags)
    (scan,) = find_dicom(settings)
    image = load_scan_file(scan.image)
    i, j, k = 5, 9, 3  # row, column, slice
    lps = first + 3 * k * normal + row * 2 * j + column * 0.5 * i
    np.testing.assert_allclose(image.affine.numpy() @ [i, j, k, 1], [-lps[0], -lps[1], lps[2], 1], atol=1e-4)
    assert image[i, j, k] == pixels[k, i, j] and image.meta["affine_known"]
    assert scan.image.geometry().spacing == pytest.approx((0.5, 2, 3))


def test_without_positions_the_place_is_not_known(settings, pixels, write_dicom, tmp_path):
    write_dicom(tmp_path / "t1" / "1.dcm", pixels[0])
    assert find_dicom(settings)[0].image.geometry().affine is None


def series(write_dicom, folder, pixels, step=(0, 0, 3), **tags):
    """The five slices along `step` as one series; returns their paths."""
    places = [(np.array(step) * number).tolist() for number in range(5)]
    tags = {"SeriesInstanceUID": "1.2.3", **tags}
    files = enumerate(zip(pixels, places, strict=True))
    return [write_dicom(folder / f"{n}.dcm", image, ImagePositionPatient=at, **tags) for n, (image, at) in files]


def test_a_missing_slice_is_said(settings, pixels, write_dicom, tmp_path, refused):
    files = series(write_dicom, tmp_path / "t1", pixels)
    np.testing.assert_array_equal(read(settings), pixels)
    files[2].unlink()
    refused(lambda: read(settings), "3.dcm: expected a slice every 3 mm, got 6 mm from 1.dcm", "a slice is missing")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SeriesInstanceUID", "1.2.4"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, 1]),
        ("PixelSpacing", [2, 2]),
        ("EchoTime", 90),
    ],
)
def test_two_acquisitions_in_a_folder_are_said(settings, pixels, write_dicom, tmp_path, refused, name, value):
    series(write_dicom, tmp_path / "t1", pixels, EchoTime=10)
    tags = {"SeriesInstanceUID": "1.2.3", "EchoTime": 10, name: value}
    path = write_dicom(tmp_path / "t1" / "5.dcm", pixels[0], ImagePositionPatient=[0, 0, 15], **tags)
    refused(lambda: read(settings), f"{path}: expected {name} ", "as in 0.dcm", "several acquisitions are mixed")


def test_a_tilted_stack_is_said(settings, pixels, write_dicom, tmp_path, refused):
    series(write_dicom, tmp_path / "t1", pixels, step=(0, 0.3, 3))
    refused(lambda: read(settings), str(tmp_path / "t1"), "tilted by 5.7 degrees", "dcm2niix")
    series(write_dicom, tmp_path / "t1", pixels, step=(0, 0.03, 3))  # rounding
    np.testing.assert_array_equal(read(settings), pixels)


def test_packed_pixels_are_read_or_the_package_is_named(settings, pixels, write_dicom, tmp_path, refused, monkeypatch):
    pytest.importorskip("jpeg_ls")  # pydicom packs by it, and unpacks
    for path in series(write_dicom, tmp_path / "t1", pixels):
        image = pydicom.dcmread(path)
        image.compress(JPEGLSLossless)
        image.save_as(path)
    np.testing.assert_array_equal(read(settings), pixels)
    decoder = get_decoder(JPEGLSLossless)
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", {"gdcm": ("gdcm>=3.0.10",)})
    refused(lambda: read(settings), "0.dcm", "got JPEG-LS Lossless", "gdcm is needed; pip install 'flare-mri[dicom]'")
