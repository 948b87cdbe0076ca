# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three oblique scans of unequal voxels, each stored in another order of axes, and what is no scan beside them."""
    folder = tmp_path / "scans"
    folder.mkdir()
    cos, sin = np.cos(0.3), np.sin(0.3)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag([0.7, 0.6, 2.5])
    affine[:3, 3] = [30, -20, 7]
    random = np.random.default_rng(0)
    for number, codes in enumerate(("RAS", "PIR", "SLA")):
        image = nibabel.Nifti1Image((1000 * random.random((20, 27, 7 + number))).astype(np.int16), affine)
        turned = image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(codes)))
        nibabel.save(turned, folder / f"Case{number:02d}{'.nii' if number else '.nii.gz'}")
    (folder / "Case00_Segmentation.nii.gz").write_bytes(b"no NIfTI file")
    (folder / "notes.txt").write_text("no scan")
    return folder
