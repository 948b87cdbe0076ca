# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Results in DICOM, read back by pydicom: voxel for voxel and millimetre for millimetre those of the NIfTI beside."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import MRImageStorage

from dicom_series import COSINES, FIRST, FRAME, SERIES, SHAPE, SPACING, STEP, STUDY, write_model, write_series
from flare_mri.errors import InputError
from flare_mri.inference.dicom_overlay import check_planes
from flare_mri.inference.dicom_source import title_of
from flare_mri.io.dicom import find_series
from flare_mri.io.nifti_file import NiftiReader
from flare_mri.program.main import main

pytest.importorskip("highdicom", reason="the extra dicom is not installed")


def run(tmp_path: Path, command: str, *more: str) -> tuple[int, Path]:
    task = {"segment": "segmentation", "reconstruct": "reconstruction"}[command]
    out = tmp_path / f"out-{command}"
    return main([command, *write_model(tmp_path, task), "--out", str(out), "--dicom", *more]), out


def place_of(affine: np.ndarray, voxel: tuple[float, float, float]) -> np.ndarray:
    """DICOM's patient coordinates (LPS) of a voxel of a NIfTI."""
    return (affine @ [*voxel, 1])[:3] * [-1, -1, 1]


def assert_placed(header: Any, position: Any, nifti: Any, number: int) -> None:
    """A pixel of a frame lies where the NIfTI has it, by DICOM's own equation (PS3.3 C.7.6.2.1.1)."""
    for row, column in ((0, 0), (19, 3), (7, 27)):
        along, down = np.array(COSINES[:3]) * SPACING[1], np.array(COSINES[3:]) * SPACING[0]
        lps = np.array(position, float) + column * along + row * down
        np.testing.assert_allclose(lps, place_of(nifti.affine, (row, column, number)), atol=1e-3)
    assert header.FrameOfReferenceUID == FRAME and header.StudyInstanceUID == STUDY


def assert_patients(image: Any, what: str, number: int) -> None:
    assert str(image.PatientName) == "Müller^Änne" and image.PatientID == "P-17" and image.StudyID == "S9"
    assert image.PatientBirthDate == "19700102" and image.StudyDate == "20260102"
    assert image.SeriesDescription == f"RESEARCH USE ONLY: {what} of a series" and image.SeriesNumber == number
    assert image.SeriesInstanceUID != SERIES


def test_a_segmentation_is_that_of_the_nifti(tmp_path: Path) -> None:
    uids = write_series(tmp_path / "new" / "t2")
    status, out = run(tmp_path, "segment", "--scans", str(tmp_path / "new" / "t2"))
    assert status == 0
    nifti: Any = nibabel.load(out / "t2_segmentation.nii.gz")
    labels = np.moveaxis(np.asarray(nifti.dataobj), -1, 0)
    path = out / "t2_segmentation.dcm"
    found = pydicom.dcmread(path)
    assert found.SOPClassUID.name == "Segmentation Storage" and path.stat().st_mode & 0o777 == 0o600
    rebuilt = np.zeros(SHAPE, np.uint8)
    frames = zip(found.PerFrameFunctionalGroupsSequence, found.pixel_array.reshape(-1, *SHAPE[1:]), strict=True)
    for frame, pixels in frames:
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        number = int(np.argmin([np.abs(FIRST + n * STEP - np.array(position, float)).sum() for n in range(6)]))
        assert_placed(found, position, nifti, number)
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == uids[number]
        rebuilt[number][pixels > 0] = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    np.testing.assert_array_equal(rebuilt, labels)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert_patients(found, "segmentation", 301)
    (shared,) = found.SharedFunctionalGroupsSequence
    np.testing.assert_allclose(shared.PlaneOrientationSequence[0].ImageOrientationPatient, COSINES)
    np.testing.assert_allclose(shared.PixelMeasuresSequence[0].PixelSpacing, SPACING)
    first, second = found.SegmentSequence
    assert (first.SegmentLabel, second.SegmentLabel) == ("liver", "zone_a")
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"
    assert second.RecommendedDisplayCIELabValue == [34886, 53484, 50172]  # CIELab of #ff0000, (53.2, 80.1, 67.2)
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "flare-mri job" and found.DeviceSerialNumber in algorithm.AlgorithmParameters


def test_outlines_are_a_derived_series_with_overlay_planes(tmp_path: Path) -> None:
    uids = write_series(tmp_path / "new" / "t2", PatientPosition="HFS")
    status, out = run(tmp_path, "segment", "--scans", str(tmp_path / "new" / "t2"), "--overlay")
    assert status == 0 and (out / "t2_segmentation.dcm").exists()
    nifti: Any = nibabel.load(out / "t2_segmentation.nii.gz")
    labels = np.moveaxis(np.asarray(nifti.dataobj), -1, 0)
    (scan,) = find_series(tmp_path / "new" / "t2")
    source = np.moveaxis(scan.image.reader.read(scan.image.files)[0], -1, 0)
    files = sorted((out / "t2_outlines_dicom").iterdir())
    assert len(files) == 6 and {path.stat().st_mode & 0o777 for path in files} == {0o600}
    for number, image in enumerate(map(pydicom.dcmread, files)):
        np.testing.assert_array_equal(image.pixel_array, source[number])
        assert "RescaleSlope" not in image and "PositionReferenceIndicator" in image
        assert_placed(image, image.ImagePositionPatient, nifti, number)
        assert image.SOPClassUID == MRImageStorage and image.PatientPosition == "HFS"
        assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == uids[number]
        assert "outlines in overlay planes" in image.DerivationDescription
        assert_patients(image, "outlines", 303)
        for organ, name in ((1, "liver"), (2, "zone_a")):
            group = 0x6000 + 2 * (organ - 1)
            inside = np.pad(labels[number] == organ, 1)
            neighbours = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
            np.testing.assert_array_equal(image.overlay_array(group), (labels[number] == organ) & ~neighbours)
            assert image[group, 0x1500].value == name and image[group, 0x0040].value == "G"


def test_more_organs_than_planes_are_refused() -> None:
    check_planes(["organ"] * 16)
    with pytest.raises(InputError, match=r"overlay: expected at most 16 organs, .* got 17; leave out --overlay"):
        check_planes(["organ"] * 17)


def test_outlines_without_dicom_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out"), "--overlay"]
    assert main(["segment", *write_model(tmp_path, "segmentation"), *out]) == 2
    assert capsys.readouterr().err.startswith("error: overlay: expected --dicom or --dicom_node with it, got neither")


def test_a_reconstruction_is_a_derived_series(tmp_path: Path) -> None:
    uids = write_series(tmp_path / "new" / "t2")
    status, out = run(tmp_path, "reconstruct", "--scans", str(tmp_path / "new"))
    assert status == 0
    nifti: Any = nibabel.load(out / "t2_reconstruction.nii.gz")
    images = np.moveaxis(nifti.get_fdata(), -1, 0)
    folder = out / "t2_reconstruction_dicom"
    files = sorted(folder.iterdir())
    found = [pydicom.dcmread(path) for path in files]
    assert folder.stat().st_mode & 0o777 == 0o700 and {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert len(found) == 6 and len({image.SOPInstanceUID for image in found}) == 6
    assert {image.SeriesInstanceUID for image in found}.isdisjoint({SERIES})
    for number, image in enumerate(found):
        slope = float(image.RescaleSlope)
        values = image.pixel_array * slope + float(image.RescaleIntercept)
        np.testing.assert_allclose(values, images[number], atol=0.51 * slope + 1e-6 * np.abs(images).max())
        assert slope < np.ptp(images) / 60000 and image.EchoTime == 90
        assert_placed(image, image.ImagePositionPatient, nifti, number)
        np.testing.assert_allclose(image.ImageOrientationPatient, COSINES)
        assert image.ImageType[0] == "DERIVED" and "Network of job job" in image.DerivationDescription
        assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == uids[number]
        assert_patients(image, "reconstruction", 302)


def test_other_scans_get_nifti_alone_and_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "new" / "t2")
    nibabel.save(
        nibabel.Nifti1Image(np.ones((32, 32, 5)) + np.eye(32)[..., None], np.eye(4)), tmp_path / "new" / "a.nii"
    )
    status, out = run(tmp_path, "segment", "--scans", str(tmp_path / "new"))
    told = capsys.readouterr().out
    assert status == 0 and "a_segmentation.nii.gz: 5 slices" in told and told.count("no DICOM, which the scan") == 1
    assert {path.name for path in out.glob("*_seg*")} == {
        "a_segmentation.nii.gz",
        "t2_segmentation.nii.gz",
        "t2_segmentation.dcm",
    }


@pytest.mark.parametrize("tag", ["FrameOfReferenceUID", "StudyInstanceUID", "ImagePositionPatient"])
def test_a_series_that_results_cannot_refer_to(tmp_path: Path, tag: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "new" / "t2", **{tag: None})
    status, out = run(tmp_path, "segment", "--scans", str(tmp_path / "new"))
    lines = capsys.readouterr().err.splitlines()
    assert status == 2 and f"expected {tag}, to which results in DICOM refer" in lines[0] and not out.exists()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dicom3tools")
def test_files_keep_to_the_standard(tmp_path: Path) -> None:
    write_series(tmp_path / "new" / "t2")
    _, segmented = run(tmp_path, "segment", "--scans", str(tmp_path / "new"), "--overlay")
    _, reconstructed = run(tmp_path, "reconstruct", "--scans", str(tmp_path / "new"))
    folders = [segmented / "t2_outlines_dicom", reconstructed / "t2_reconstruction_dicom"]
    for path in [segmented / "t2_segmentation.dcm", *(folder / "0001.dcm" for folder in folders)]:
        told = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, timeout=60)
        found = (told.stdout + told.stderr).splitlines()
        assert found and [line for line in found if line.startswith("Error")] == [], path


def test_an_empty_segmentation_is_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from flare_mri.inference.dicom_segmentation import encode_segmentation
    from flare_mri.inference.dicom_source import read_source
    from flare_mri.inference.personal_model import load_personal_model
    from flare_mri.io.dicom import find_series

    write_series(tmp_path / "t2")
    model = load_personal_model(Path(write_model(tmp_path, "segmentation")[0]))
    source = read_source(find_series(tmp_path / "t2")[0])
    assert source is not None
    content = encode_segmentation(source, np.zeros(SHAPE, np.uint8), {"liver": "#27d3ff"}, model)
    found = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
    assert found.pixel_array.shape[-2:] == SHAPE[1:] and not found.pixel_array.any() and not capfd.readouterr().err


def test_without_the_extra_one_line_names_it(tmp_path: Path) -> None:
    write_series(tmp_path / "new" / "t2")
    words = ["segment", *write_model(tmp_path, "segmentation"), "--out", str(tmp_path / "out"), "--dicom"]
    code = "import sys; sys.modules['highdicom'] = None; from flare_mri.program.main import main; "
    words = [sys.executable, "-c", code + "sys.exit(main(sys.argv[1:]))", *words, "--scans", str(tmp_path / "new")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "pip install 'flare-mri[dicom]'" in done.stderr and done.stderr.count("\n") == 1


def test_pictures_are_titled_by_patient_and_series(tmp_path: Path) -> None:
    write_series(tmp_path / "new" / "t2")
    (scan,) = find_series(tmp_path / "new")
    assert title_of(scan) == "P-17"
    for path in scan.files:
        header = pydicom.dcmread(path)
        header.SeriesDescription = "T2 tra"
        header.save_as(path)
    assert title_of(scan) == "P-17, T2 tra"
    assert title_of(replace(scan, image=replace(scan.image, reader=NiftiReader()))) == ""
