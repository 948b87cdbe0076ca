# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Outlines of organs in the overlay planes of a DICOM image, for viewers that show no segmentation objects."""

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from scipy.ndimage import binary_erosion

from flare_mri.errors import InputError

MOST_PLANES = 16
"""Of an image: groups 6000, 6002 ... 601E (DICOM PS3.5, 7.6)."""


def check_planes(organs: Sequence[str]) -> None:
    """Raises InputError where a model knows more organs than an image has planes."""
    if len(organs) > MOST_PLANES:
        raise InputError(
            f"overlay: expected at most {MOST_PLANES} organs, the planes of a DICOM image, got {len(organs)}; "
            "leave out --overlay"
        )


def add_outlines(image: Dataset, labels: np.ndarray, organs: Sequence[str]) -> None:
    """Gives an image a plane for each organ, on or off in a viewer by itself; its pixels stay (DICOM PS3.3, C.9.2).

    A plane holds the organ's outermost pixels. An organ that is not in the slice has an empty one, so that planes are
    numbered alike in all slices.

    Args:
        image: with rows and columns.
        labels: uint8 [rows, columns], 0 or the number of an organ from 1.
        organs: their names in that order.
    """
    for number, organ in enumerate(organs, 1):
        group = 0x6000 + 2 * (number - 1)
        inside = labels == number
        outline = inside & ~binary_erosion(inside)
        plane = {
            0x0010: ("US", labels.shape[0]),
            0x0011: ("US", labels.shape[1]),
            0x0022: ("LO", f"outline of {organ}"[:64]),
            0x0040: ("CS", "G"),
            0x0045: ("LO", "AUTOMATED"),
            0x0050: ("SS", [1, 1]),
            0x0100: ("US", 1),
            0x0102: ("US", 0),
            0x1500: ("LO", organ[:64]),
            0x3000: ("OW", pack_bits(outline.astype(np.uint8).ravel())),
        }
        for element, (kind, value) in plane.items():
            image.add_new((group, element), kind, value)
