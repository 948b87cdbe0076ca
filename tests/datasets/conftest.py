# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from data_files import *  # noqa: F403

RNG = np.random.default_rng(0)


@pytest.fixture
def prostate(tmp_path, write_nifti, load):
    """Writes `count` cases with label in slices 1, 2 and 4 of 6; returns their settings."""

    def prostate(count=4, labelled=True, split="{train: 0.5, validation: 0.25, test: 0.25}", slices="labelled"):
        for number in range(count):
            image, label = RNG.normal(100, 20, (16, 20, 6)), np.zeros((16, 20, 6), np.uint8)
            label[4 + number : 8 + number, 6:12, [1, 2, 4]] = 1
            write_nifti(tmp_path / f"secret/Case{number:02d}.nii.gz", image)
            if labelled:
                write_nifti(tmp_path / f"secret/Case{number:02d}_Segmentation.nii.gz", label)
        return load(f"data: {{format: prostate, root: secret, slices: {slices}}}\nsplit: {split}")

    return prostate


@pytest.fixture
def listed(tmp_path, write_nifti, load):
    """Writes a Decathlon list with the given sections of case numbers; a negative number is an unlabelled case."""

    def listed(**sections):
        content = {}
        for section, numbers in sections.items():
            content[section] = []
            for number in numbers:
                image, label = RNG.normal(100, 20, (16, 20, 4)), np.zeros((16, 20, 4), np.uint8)
                label[4:8, 6:12, 1:3] = 1
                name = f"case{abs(number)}"
                write_nifti(tmp_path / f"{name}.nii.gz", image)
                write_nifti(tmp_path / f"{name}_label.nii.gz", label)
                labels = {"label": f"{name}_label.nii.gz"} if number > 0 else {}
                content[section].append({"image": f"{name}.nii.gz", **labels})
        (tmp_path / "datalist.json").write_text(json.dumps(content))
        return load("data: {format: decathlon, root: ., slices: labelled}")

    return listed
