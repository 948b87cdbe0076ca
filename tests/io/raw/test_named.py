# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a raw scan says of itself: its patient, or else the file, and its contrast."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from flare_mri.io.fastmri import FastMRISettings, find_fastmri
from flare_mri.io.fastmri_layout import HEADER
from flare_mri.io.ismrmrd import IsmrmrdSettings, find_ismrmrd
from flare_mri.io.raw.named import contrast_of, subject_of
from flare_mri.io.raw.samples import make_header, sample_scan, write_bart, write_fastmri_raw, write_ismrmrd


def header_of(patient: str) -> str:
    named = f"<subjectInformation><patientID>{patient}</patientID></subjectInformation>"
    header = make_header((24, 20), oversampling=2, slices=3, coils=2)
    return header.replace("<acquisitionSystemInformation>", f"{named}<acquisitionSystemInformation>")


def write_scans(folder: Path, patients: dict[str, str]) -> None:
    pytest.importorskip("ismrmrd", reason="the extra raw is not installed")
    scan = sample_scan(np.random.default_rng(0))
    for name, patient in patients.items():
        write_ismrmrd(folder / f"{name}.h5", scan.kspace, header=header_of(patient))


def test_scans_of_one_patient_are_of_one_subject(tmp_path: Path) -> None:
    write_scans(tmp_path, {"flair": "P-17", "t2": "P-17", "other": "P-18"})
    found = find_ismrmrd(IsmrmrdSettings(format="ismrmrd", root=tmp_path))
    assert {scan.name: scan.subject for scan in found} == {"flair": "P-17", "t2": "P-17", "other": "P-18"}


@pytest.mark.parametrize("patient", ["anonymous", "", "x" * 65])
def test_a_header_that_names_nobody_leaves_the_file(tmp_path: Path, patient: str) -> None:
    write_scans(tmp_path, {"scan": patient})
    assert subject_of(tmp_path / "scan.h5") == "scan"


def test_files_of_fastmri_whose_headers_name_a_patient(tmp_path: Path) -> None:
    for name, patient in (("file1", "P-17"), ("file2", "P-17"), ("file3", "")):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["reconstruction_rss"] = np.ones((2, 20, 18), np.float32)
            if patient:
                file[HEADER] = header_of(patient)
    found = find_fastmri(FastMRISettings(format="fastmri", root=tmp_path))
    assert [scan.subject for scan in found] == ["P-17", "P-17", "file3"]


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n damaged", b"no HDF5"])
def test_a_damaged_file_is_listed_by_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "scan.h5").write_bytes(content)
    assert subject_of(tmp_path / "scan.h5") == "scan"
    assert contrast_of(tmp_path / "scan.h5") is None


def test_the_contrast_is_what_the_file_calls_it(tmp_path: Path) -> None:
    named = "<measurementInformation><protocolName> t2_tse  tra </protocolName></measurementInformation>"
    header = make_header((24, 20), slices=3, coils=2)
    kspace = sample_scan(np.random.default_rng(0)).kspace
    path = write_fastmri_raw(tmp_path / "a.h5", kspace, header=header.replace("<encoding>", f"{named}<encoding>", 1))
    assert contrast_of(path) == "t2_tse tra"
    with h5py.File(path, "a") as file:
        file.attrs["acquisition"] = "AXT2"  # of fastMRI, goes before the header
    assert contrast_of(path) == "AXT2"
    with h5py.File(path, "a") as file:
        file.attrs["acquisition"] = [1, 2]
    assert contrast_of(path) == "t2_tse tra"
    assert contrast_of(write_fastmri_raw(tmp_path / "b.h5", kspace, header=header)) is None
    assert contrast_of(write_bart(tmp_path / "c.cfl", kspace)) is None
    pytest.importorskip("ismrmrd", reason="the extra raw is not installed")
    header = make_header((24, 20), oversampling=2, slices=3, coils=2)
    header = header.replace("<encoding>", f"{named}<encoding>", 1)
    assert contrast_of(write_ismrmrd(tmp_path / "d.h5", kspace, header=header)) == "t2_tse tra"
