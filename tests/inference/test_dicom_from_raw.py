# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Raw scans as a DICOM study, read back by pydicom: every pixel's value is the NIfTI's at the same place in mm."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from flare_mri.inference.dicom_from_raw import make_study
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.io.dicom_file import DicomReader
from flare_mri.io.raw.samples import Position, make_header, sample_scan, write_fastmri_raw, write_ismrmrd
from flare_mri.io.raw.scan import RawScan
from flare_mri.networks import build_network
from flare_mri.reconstruct import main
from flare_mri.training import SiteStore

pytest.importorskip("highdicom", reason="the extra dicom is not installed")

NETWORK: dict[str, Any] = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4, "num_pools": 2}}
SETTINGS = "data: {format: ismrmrd, root: new, sensitivities: low_pass}\nmask: {kind: equispaced, acceleration: 2}\n"
SLANT, UP = float(np.cos(0.3)), float(np.sin(0.3))
OBLIQUE = Position(read=(0.0, SLANT, UP), phase=(1.0, 0.0, 0.0), slice=(0.0, UP, -SLANT))
NAMED = "<subjectInformation><patientID>P-17</patientID></subjectInformation><measurementInformation>"
NAMED += (
    "<protocolName>t1 axial</protocolName><frameOfReferenceUID>1.2.3.4</frameOfReferenceUID></measurementInformation>"
)


def words(tmp_path: Path, *more: str) -> list[str]:
    (tmp_path / "site.yaml").write_text(SETTINGS)
    network = build_network(NETWORK, 3)
    model = PersonalModel("fedmri", "site-1", "reconstruction", NETWORK, network.state_dict(), (24, 20))
    store = SiteStore(tmp_path / "store", model.job, model.site)
    store.save_model(PERSONAL_FILE, model.state, model.description())
    path = str(store.path(PERSONAL_FILE))
    return [path, "--site", str(tmp_path / "site.yaml"), "--out", str(tmp_path / "out"), "--dicom", *more]


def write_scan(tmp_path: Path, named: str) -> None:
    scan = sample_scan(np.random.default_rng(0))
    (tmp_path / "new").mkdir()
    slices, coils, *matrix = scan.kspace.shape
    header = make_header((matrix[0], matrix[1]), oversampling=2, slices=slices, coils=coils)
    header = header.replace("<acquisitionSystemInformation>", f"{named}<acquisitionSystemInformation>")
    write_ismrmrd(tmp_path / "new" / "a.h5", scan.kspace, position=OBLIQUE, header=header)


def place_of(image: Any, row: int, column: int) -> np.ndarray:
    """RAS mm of a pixel, by DICOM's own equation (PS3.3 C.7.6.2.1.1)."""
    cosines = np.array(image.ImageOrientationPatient, float)
    lps = np.array(image.ImagePositionPatient, float) + column * cosines[:3] * float(image.PixelSpacing[1])
    return (lps + row * cosines[3:] * float(image.PixelSpacing[0])) * [-1, -1, 1]


def test_pixels_lie_where_the_nifti_has_them(tmp_path: Path) -> None:
    write_scan(tmp_path, NAMED)
    assert main(words(tmp_path)) == 0
    nifti: Any = nibabel.load(tmp_path / "out" / "a_reconstruction.nii.gz")
    values, back = np.asarray(nifti.dataobj), np.linalg.inv(nifti.affine)
    files = sorted((tmp_path / "out" / "a_reconstruction_dicom").iterdir())
    images = [pydicom.dcmread(file) for file in files]
    assert len(images) == values.shape[2] and all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    seen = set()
    for image in images:
        stored = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
        for row, column in np.ndindex(*stored.shape):
            voxel = back @ [*place_of(image, row, column), 1]
            index = tuple(int(i) for i in voxel[:3].round())
            np.testing.assert_allclose(voxel[:3], index, atol=1e-3)
            assert stored[row, column] == pytest.approx(values[index], abs=float(image.RescaleSlope))
            seen.add(index)
    assert len(seen) == values.size
    first = images[0]
    assert first.SOPClassUID.name == "MR Image Storage" and first.ImageType[0] == "DERIVED"
    assert first.SeriesDescription == "RESEARCH USE ONLY: reconstruction of t1 axial"
    assert first.PatientID == "P-17" and not first.PatientName and first.FrameOfReferenceUID == "1.2.3.4"
    assert len({image.StudyInstanceUID for image in images}) == len({i.SeriesInstanceUID for i in images}) == 1
    assert len({image.SOPInstanceUID for image in images}) == len(images) and "SourceImageSequence" not in first
    # upright: columns lead to the patient's left, rows to the back; our own reader takes the series
    assert first.ImageOrientationPatient[0] > 0.9 and first.ImageOrientationPatient[4] > 0.9
    assert DicomReader().geometry(tuple(files)).affine is not None


@pytest.mark.parametrize(
    ("normal", "across", "down"),
    [((1, 0, 0), (0, 1, 0), (0, 0, -1)), ((0, 1, 0), (1, 0, 0), (0, 0, -1)), ((0, 0, 1), (1, 0, 0), (0, 1, 0))],
)
def test_slices_are_upright_whatever_the_axis(normal: Any, across: Any, down: Any) -> None:
    """In LPS; k-space is stored with its readout along the other axis, and backwards."""
    affine = np.eye(4)
    affine[:3, :3] = (
        np.diag([-1, -1, 1]) @ np.stack([-np.array(across), np.array(down), np.array(normal)], 1) * [2, 3, 4]
    )
    scan = RawScan(np.zeros((5, 1, 4, 6), np.complex64), np.ones((5, 4, 6), bool), affine)
    images = np.arange(5 * 4 * 6, dtype=np.float32).reshape(5, 4, 6)
    headers, turned = make_study(scan, images, "P", "a.h5")
    assert turned.shape == (5, 6, 4) and len(headers) == 5
    np.testing.assert_allclose(headers[0].ImageOrientationPatient, [*across, *down], atol=1e-6)
    assert headers[0].PixelSpacing == [3, 2] and headers[0].SliceThickness == 4
    steps = np.diff([np.array(header.ImagePositionPatient, float) for header in headers], axis=0)
    np.testing.assert_allclose(np.cross(across, down) @ steps.T, 4, atol=1e-6)


def test_what_the_header_lacks_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scan(tmp_path, "")
    arguments = words(tmp_path)
    assert main(arguments) == 2
    assert (
        "a.h5: expected a patient's ID for DICOM, got none in the header; give --patient_id" in capsys.readouterr().err
    )
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
    assert main([*arguments, "--patient_id", "pseudonym 1"]) == 0
    path = next((tmp_path / "out" / "a_reconstruction_dicom").iterdir())
    assert pydicom.dcmread(path).PatientID == "pseudonym 1"


def test_without_geometry_there_is_no_dicom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = sample_scan(np.random.default_rng(0))
    (tmp_path / "new").mkdir()
    write_fastmri_raw(tmp_path / "new" / "a.h5", scan.kspace, target=np.abs(scan.kspace[:, 0]))
    assert main(words(tmp_path, "--patient_id", "1")) == 2
    told = capsys.readouterr().err
    assert "a.h5: expected positions and directions for DICOM, got none (the format has none); leave out" in told
    assert not list(tmp_path.glob("out/*"))
