# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The last step of every reader: checks that need all of k-space, and the target of a fully sampled scan."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from flare_mri.errors import InputError
from flare_mri.io.raw.checks import check_centre, describe_sampling, inspect_coils
from flare_mri.io.raw.sampling import share_mask
from flare_mri.io.raw.scan import RawScan
from flare_mri.physics.classical import root_sum_of_squares


def build_scan(path: Path, kspace: np.ndarray, mask: np.ndarray, notes: tuple[str, ...] = ()) -> RawScan:
    """A scan of finite k-space complex64 [S, C, H, W] and its mask bool [S, H, W], without geometry.

    Raises:
        InputError: nothing was measured, k-space is not centred, or it is real, as no scanner's is.
    """
    found = (*describe_sampling(path, mask), *inspect_coils(kspace), *check_centre(path, kspace))
    if all((coils.imag == 0).all() for coils in kspace):
        raise InputError(
            f"{path}: expected complex k-space, got numbers without an imaginary part (magnitudes?); give k-space as "
            "the scanner measured it"
        )
    scan = RawScan(kspace, share_mask(mask), notes=(*notes, *found))
    return replace(scan, target=make_target(kspace)) if scan.fully_sampled else scan


def make_target(kspace: np.ndarray) -> np.ndarray:
    """Root of the sum of squares over the coils, float32 [S, H, W], of k-space complex64 [S, C, H, W], full or not."""
    images = np.empty((len(kspace), *kspace.shape[2:]), np.float32)
    for index, values in enumerate(kspace):  # a slice at a time, for memory
        images[index] = root_sum_of_squares(torch.from_numpy(np.ascontiguousarray(values))[None])[0, 0].numpy()
    return images
