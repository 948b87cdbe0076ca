# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The layout of the multi-site prostate data."""

import nibabel
import numpy as np
import pytest

from data_files import data_settings, read_image, read_label
from flare_mri.datasets.volumes import build_pipeline
from flare_mri.io.formats import sniff_format
from flare_mri.io.prostate import find_prostate

IMAGE = np.random.default_rng(0).integers(0, 900, (20, 24, 5)).astype(np.int16)
LABEL = np.zeros((20, 24, 5), np.uint8)
LABEL[5:9, 6:12, 1:4] = 1
LABEL[6, 7, 2] = 2


@pytest.fixture
def site(tmp_path, write_nifti):
    def site(*names):
        for name in names:
            write_nifti(tmp_path / name, LABEL if "seg" in name.lower() else IMAGE)
        return data_settings("prostate", tmp_path)

    return site


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("Case00.nii.gz", "Case00_segmentation.nii.gz"),
        ("Case00.nii.gz", "Case00_Segmentation.nii.gz"),
        ("Case00.nii.gz", "case00_segmentation.nii"),
        ("case_00.nii", "Case00-SEG.nii.gz"),
        ("Case 00.nii.gz", "Case00segmentation.nii.gz"),
    ],
)
def test_spellings(site, image, label):
    (case,) = find_prostate(site(image, label))
    assert (case.name, case.section) == ("case00", "")
    assert [path.name for path in case.files] == [image, label]
    assert case.image.geometry().shape == (20, 24, 5)
    np.testing.assert_array_equal(read_image(case), IMAGE)
    np.testing.assert_array_equal(read_label(case), LABEL)


def test_cases_come_in_order_of_their_names(site):
    names = [f"Case{number:02d}{end}.nii.gz" for number in (3, 1, 2) for end in ("", "_segmentation")]
    assert [case.name for case in find_prostate(site(*names))] == ["case01", "case02", "case03"]


@pytest.mark.parametrize("folder", ["BIDMC", "BMC", "HK", "I2CVB", "RUNMC", "UCL"])
def test_the_six_sites_of_saml_as_they_are_downloaded(tmp_path, write_nifti, folder):
    """The case of `segmentation` differs; zones have values of their own at some; macOS left files of its own."""
    ending, zones = ("_Segmentation", 2) if folder in ("BMC", "RUNMC") else ("_segmentation", 1)
    for number in range(2):
        write_nifti(tmp_path / folder / f"Case{number:02d}.nii.gz", IMAGE)
        write_nifti(tmp_path / folder / f"Case{number:02d}{ending}.nii.gz", LABEL.clip(max=zones).astype(np.float64))
        (tmp_path / folder / f"._Case{number:02d}.nii.gz").write_bytes(b"of macOS")
    (tmp_path / folder / ".DS_Store").write_bytes(b"of macOS")
    settings = data_settings("prostate", tmp_path / folder)
    scans = find_prostate(settings)
    assert [scan.name for scan in scans] == ["case00", "case01"] and sniff_format(settings.root) == "prostate"
    item = build_pipeline("segmentation", settings, labelled=True)(scans[0].item())
    assert item["label"].unique().tolist() == [0, 1] and int(item["label"].sum()) == (LABEL > 0).sum()


def test_a_site_without_labels(site):
    assert all(case.label is None for case in find_prostate(site("Case00.nii.gz", "Case01.nii.gz")))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ["data.root", "CaseNN.nii.gz", "got none"]),
        (["Case00.nii.gz", "Case00_segmentation.nii.gz", "Case01.nii.gz"], ["Case01", "Case01_segmentation.nii.gz"]),
        (["Case00.nii.gz", "Case01_segmentation.nii.gz"], ["Case01_segmentation", "its image"]),
        (["Case00.nii.gz", "case00.nii"], ["one file for case 'case00'"]),
    ],
)
def test_missing_and_double_files(site, refused, names, words):
    refused(lambda: find_prostate(site(*names)), *words)


def test_the_spacing_is_that_of_the_header(tmp_path, site, write_nifti):
    settings = site("Case00.nii.gz")
    nibabel.save(nibabel.Nifti1Image(IMAGE, np.diag([0.6, 0.7, 3.0, 1])), tmp_path / "Case00.nii.gz")
    (case,) = find_prostate(settings)
    assert case.image.geometry().spacing == pytest.approx((0.6, 0.7, 3.0))
