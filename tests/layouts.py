# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Made files, laid out as the data sets of docs/tutorials are when they have been downloaded."""

import json
from pathlib import Path

import numpy as np

from flare_mri.io.dicom import write_dicom_slice
from flare_mri.io.nifti_file import write_nifti
from flare_mri.io.raw.samples import make_header, sample_scan, write_fastmri_raw, write_ismrmrd

SAML = ("BIDMC", "BMC", "HK", "I2CVB", "RUNMC", "UCL")
RNG = np.random.default_rng(0)


def write_pair(image: Path, label: Path | None = None, values: tuple[int, int] = (1, 2), channels: int = 1) -> None:
    """A bright and a dark block in noise, [30, 26, 4] or with channels, and their label."""
    voxels, truth = RNG.normal(100, 10, (30, 26, 4)), np.zeros((30, 26, 4), np.uint8)
    for place, value, add in ((np.s_[4:14, 4:20, 1:3], values[0], 80), (np.s_[18:26, 6:20, 1:3], values[1], -60)):
        voxels[place] += add
        truth[place] = value
    write_nifti(
        image, (np.stack([voxels, 0 * voxels + RNG.random()], 3) if channels > 1 else voxels).astype(np.float32)
    )
    if label is not None:
        write_nifti(label, truth)


def write_saml(data: Path) -> None:
    for site in SAML:
        ending = "Segmentation" if site in ("BMC", "RUNMC") else "segmentation"
        for number in range(6):
            case = data / "prostate" / site / f"Case{number:02d}"
            write_pair(Path(f"{case}.nii.gz"), Path(f"{case}_{ending}.nii.gz"), (1, 2 if site == "BMC" else 1))
            case.with_name(f"._{case.name}.nii.gz").write_bytes(b"of macOS")


def write_decathlon(data: Path) -> None:
    task, rows = data / "Task05_Prostate", []
    for number in range(9):
        row = {part: f"./{part}sTr/prostate_{number:02d}.nii.gz" for part in ("image", "label")}
        write_pair(task / row["image"], task / row["label"], channels=2)
        (task / "imagesTr" / f"._prostate_{number:02d}.nii.gz").write_bytes(b"of macOS")
        rows.append(row)
    write_pair(task / "imagesTs" / "prostate_09.nii.gz", channels=2)
    (task / "imagesTs" / "._prostate_09.nii.gz").write_bytes(b"of macOS")
    told = {"name": "PROSTATE", "tensorImageSize": "4D", "modality": {"0": "T2", "1": "ADC"}, "numTraining": 9}
    told |= {"labels": {"0": "background", "1": "PZ", "2": "TZ"}, "numTest": 1, "training": rows}
    (task / "dataset.json").write_text(json.dumps({**told, "test": ["./imagesTs/prostate_09.nii.gz"]}))


def write_bids(data: Path) -> None:
    root = data / "brains"
    for number in range(1, 10):
        for session in ("1", "2") if number < 3 else ("",):
            subject, of = f"sub-{number:02d}", f"_ses-{session}" if session else ""
            folder = Path(subject, f"ses-{session}" if session else "", "anat")
            label = root / "derivatives" / "manual" / folder / f"{subject}{of}_desc-manual_dseg.nii.gz"
            write_pair(root / folder / f"{subject}{of}_T1w.nii.gz", label, (17, 53))
    table = "index\tname\tabbreviation\n0\tBackground\tBG\n17\tLeft-Hippocampus\tLH\n53\tRight-Hippocampus\tRH\n"
    (root / "derivatives" / "manual" / "dseg.tsv").write_text(table)
    (root / "dataset_description.json").write_text('{"Name": "brains", "BIDSVersion": "1.9.0"}')


def head() -> np.ndarray:
    """A few bright spots in an ellipse, [4, 24, 20], as magnitudes of a scanner."""
    scan = sample_scan(RNG, (4, 24, 20))
    return np.round(1000 * np.sqrt((np.abs(np.fft.ifft2(scan.kspace)) ** 2).sum(1)))


def write_dicom(data: Path) -> None:
    for series in ("brain/flair", "brain/t2", "new/t1"):
        for number, image in enumerate(np.fft.fftshift(head(), (1, 2))):
            path = data / series / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_dicom_slice(path, image, ImagePositionPatient=[0, 0, 5 * number])


def write_brats(data: Path) -> None:
    for case in (*(f"BraTS2021/BraTS2021_{number:05d}" for number in range(6)), "new/BraTS2021_00009"):
        for suffix in ("flair", "t2", "seg"):
            voxels = np.zeros((20, 24, 101), np.float32)
            voxels[4:16, 4:20] = 1 + RNG.random((12, 16, 1))
            write_nifti(data / case / f"{Path(case).name}_{suffix}.nii.gz", voxels)


def write_fastmri(data: Path) -> None:
    for part, number in (("val", 6), ("test", 1)):
        folder = data / f"knee_multicoil_{part}"
        folder.mkdir(parents=True)
        for index in range(number):
            kspace = sample_scan(RNG, (3, 24, 112 + 8 * (index % 2)), snr=200).kspace
            width = kspace.shape[-1]
            lines = (np.arange(width) % 2 == 0) | (abs(np.arange(width) - width // 2) < 5)
            header = make_header((24, width), slices=3)
            given = {"target": np.ones((3, 24, width))} if part == "val" else {"mask": lines}
            if part == "test":
                kspace = kspace * lines
            write_fastmri_raw(folder / f"file100000{index}.h5", kspace, header=header, **given)


def write_raw(data: Path) -> None:
    for folder, number in (("raw", 2), ("new", 1)):
        (data / folder).mkdir(parents=True)
        for index in range(number):
            scan = sample_scan(RNG, (6, 24, 64))
            write_ismrmrd(data / folder / f"scan{index}.h5", scan.kspace, noise=scan.noise)
