# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Cases to segment, made small."""

from pathlib import Path

import nibabel
import numpy as np


def label_of(*values: int) -> np.ndarray:
    """A label [24, 20, 6] with a box of each value on three slices."""
    label = np.zeros((24, 20, 6))
    for at, value in enumerate(values):
        label[2 + 4 * at : 5 + 4 * at, 6:12, 1:4] = value
    return label


def write_case(
    folder: Path,
    name: str,
    label: np.ndarray | None,
    affine: np.ndarray | None = None,
    shape: tuple[int, ...] = (24, 20, 6),
) -> None:
    """An image that no other name has, and its label."""
    folder.mkdir(exist_ok=True)
    affine = np.eye(4) if affine is None else affine
    shape = shape if label is None else label.shape
    voxels = np.random.default_rng(list(name.encode())).integers(1, 1000, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / f"{name}.nii.gz")
    if label is not None:
        nibabel.save(nibabel.Nifti1Image(label.astype(np.uint8), affine), folder / f"{name}_segmentation.nii.gz")
