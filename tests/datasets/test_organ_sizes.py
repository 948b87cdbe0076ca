# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes of organs: found in training labels, never trusted from a file, and told where a new scan's are far off."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from flare_mri.config.site import load_site_config
from flare_mri.datasets.organ_sizes import OrganSizes, organ_sizes_from
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.errors import InputError

SIZES = OrganSizes({"liver": (800.0, 2000.0), "spleen": (100.0, 300.0)})


def test_what_is_far_off_is_told_and_what_is_missing_or_near_is_not() -> None:
    assert SIZES.find_differences({"liver": 401.0, "spleen": 0.0}) == []
    assert SIZES.find_differences({"liver": 399.0, "spleen": 900.0}) == [
        "liver of 399 ml, the model learned from 800 to 2e+03 ml",
        "spleen of 900 ml, the model learned from 100 to 300 ml",
    ]


def test_a_file_gives_them_back() -> None:
    assert organ_sizes_from(SIZES.as_dict()) == SIZES


@pytest.mark.parametrize("described", [None, [], {"a": 3}, {"a": [2, 1]}, {"a": [0, 1]}, {"a": [1, float("nan")]}])
def test_what_is_none_is_refused(described: Any) -> None:
    with pytest.raises(InputError, match="organ_sizes: expected two millilitres for each organ"):
        organ_sizes_from(described)


def test_training_labels_are_measured_in_their_own_voxels(tmp_path: Path) -> None:
    for number in range(4):
        label = np.zeros((32, 32, 6), np.uint8)
        label[:10, : 10 + number, 2] = 1
        image = np.random.default_rng(number).random((32, 32, 6), np.float32)
        affine = np.diag([2.0, 2.0, 5.0, 1])
        nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / f"Case0{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label, affine), tmp_path / f"Case0{number}_segmentation.nii.gz")
    split = "{by: volume, train: 0.5, validation: 0.25, test: 0.25}"
    (tmp_path / "site.yaml").write_text(f"data: {{format: prostate, root: {tmp_path}}}\nsplit: {split}\n")
    data = SegmentationData(load_site_config(tmp_path / "site.yaml", "site-1"), seed=0)
    found = data.find_organ_sizes()
    sizes = sorted(10 * (10 + number) * 2 * 2 * 5 / 1000 for number in data.train.used)
    assert found is not None and len(sizes) == 2
    assert list(found.millilitres.values()) == [pytest.approx((sizes[0], sizes[1]))]
