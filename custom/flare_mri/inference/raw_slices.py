# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The slices of one raw scan as a network takes them, each with its own mask."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from flare_mri.io.raw.scan import RawScan
from flare_mri.physics.coil_sensitivities import estimate_sensitivities
from flare_mri.transforms.kspace import build_undersampling


class RawSlices(Dataset[dict[str, Any]]):
    """Samples of a raw scan, as of :class:`~flare_mri.datasets.reconstruction.ReconstructionDataset`.

    Beside `image`, `scale` and `offset` a sample has `kspace` and `mask`, `sensitivities` where they are asked for, and
    `target` where the scan is fully sampled.

    Args:
        scan: of one volume.
        masks: bool [S, H, W], what of each slice is used: all that was measured, or a part of it.
        method: of :func:`flare_mri.physics.coil_sensitivities.estimate_sensitivities`; None: no sensitivities.
    """

    def __init__(self, scan: RawScan, masks: np.ndarray, method: str | None):
        self.scan, self.masks, self.method = scan, masks, method

    def __len__(self) -> int:
        return len(self.scan.kspace)

    def __getitem__(self, index: int) -> dict[str, Any]:
        mask = torch.from_numpy(np.array(self.masks[index]))[None, None]
        kspace = torch.from_numpy(self.scan.kspace[index])
        item: dict[str, Any] = {"full": kspace}
        if self.method is not None:
            item["sensitivities"] = estimate_sensitivities(kspace[None] * mask, mask, self.method)[0]
        if self.scan.target is not None:
            item["target"] = torch.from_numpy(self.scan.target[index])[None]
        return build_undersampling(mask[0, 0].numpy())(item)
