# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The one transform that reads scans: each by the reader that its format names, and by no other."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform

from flare_mri.io.scan import ScanFile


class LoadScand(MapTransform):
    """Replace every :class:`~flare_mri.io.scan.ScanFile` by its voxels, a ``MetaTensor`` [I, J, K] of float32.

    The order of axes is the file's; the affine leads from there to mm (RAS). ``meta["affine_known"]`` tells whether the
    file says where it lies; ``meta["origin"]`` names it in messages.

    Raises:
        InputError: a file that its reader refuses, or that does not fit its header; no other reader is tried.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the entries of ``keys``."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = load_scan_file(item[key])
        return item


def load_scan_file(file: ScanFile) -> MetaTensor:
    """The voxels of one image or label, float32 [I, J, K], see :class:`LoadScand`."""
    voxels, meta = file.reader.get_data(file.reader.read(file.files))
    tensor = torch.from_numpy(np.ascontiguousarray(voxels, np.float32))
    return MetaTensor(tensor, meta={**meta, "origin": file.origin})
