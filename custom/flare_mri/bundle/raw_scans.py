# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What the configuration of a reconstruction bundle names of this package: raw scans are read and written by it.

Everything else of such a bundle is MONAI's. These are made of the parts that
:mod:`flare_mri.inference.raw_reconstruction` is made of.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor
from torch.utils.data import default_collate

from flare_mri.inference.placement import slices_to_nifti
from flare_mri.inference.raw_slices import RawSlices
from flare_mri.inference.results_folder import write_private
from flare_mri.io.raw.read import read_raw
from flare_mri.io.raw.reader import geometry_of
from flare_mri.training.scanner_units import restore_units


class ReadRawScand(MapTransform):
    """Reads raw scans as they are, in fastMRI's layout, ISMRMRD or BART's: all that was measured is used.

    Adds, of S slices with C coils, `kspace` complex [S, C, H, W], `mask` bool [S, 1, H, W], the zero-filled `image`
    [S, 1, H, W], `scale` and `offset` [S], with which ``x * scale + offset`` is in the scanner's units, `affine` [4, 4]
    from voxels (h, w, s) to mm, and `sensitivities` complex [S, C, H, W] where they are asked for.

    Args:
        keys: of the path.
        sensitivities: of :func:`flare_mri.physics.coil_sensitivities.estimate_sensitivities`; None: none are needed.

    Raises:
        InputError: a scan that cannot be read, or whose sampled centre is too small for coil sensitivities; MONAI wraps
            it into an error of its own.
    """

    def __init__(self, keys: str, sensitivities: str | None = None):
        super().__init__(keys)
        self.sensitivities = sensitivities

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Adds the entries of the scan."""
        item = dict(data)
        for key in self.key_iterator(item):
            scan = replace(read_raw(Path(item[key])), target=None)
            slices = RawSlices(scan, scan.mask, self.sensitivities)
            item |= default_collate([slices[number] for number in range(len(slices))])
            item["affine"] = torch.from_numpy(geometry_of(scan).matrix)
        return item


class PrepareSlices(PrepareBatch):
    """Takes from a batch of one scan what its network is called with, in order.

    Args:
        keys: entries [1, S, ...] of the batch.
    """

    def __init__(self, keys: Sequence[str]):
        self.keys = tuple(keys)

    def __call__(
        self, batchdata: dict[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, None, tuple[Tensor, ...], dict[str, Any]]:
        """The first entry, no target, and the other entries."""
        first, *others = (batchdata[key].to(device, non_blocking=non_blocking, **kwargs) for key in self.keys)
        return first, None, tuple(others), {}


class SliceBatchInferer(Inferer):
    """Runs a network on the slices of one scan, some at a time.

    Args:
        batch_size: the most slices in a batch.
    """

    def __init__(self, batch_size: int = 1):
        super().__init__()
        self.batch_size = batch_size

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Tensor, **kwargs: Any) -> Tensor:
        """Entries [1, S, ...] of a scan -> the network's [1, S, 1, H, W]."""
        batches = zip(*(entry[0].split(self.batch_size) for entry in (inputs, *args)), strict=True)
        return torch.cat([network(*batch, **kwargs) for batch in batches])[None]


class SaveReconstructiond(MapTransform):
    """Writes magnitudes in the scanner's units as ``<scan>_reconstruction.nii.gz``, float32 [H, W, S], at their place.

    As ``flare-mri reconstruct`` does it: for their owner alone, and over nothing that is there.

    Args:
        keys: of the network's output [S, 1, H, W].
        output_dir: folder of the files; made if missing.
        kspace: whether the network gives magnitudes in the unit of its k-space, which has `scale` but no `offset`.
        scan_key: of the scan's path.
    """

    def __init__(self, keys: str, output_dir: str, kspace: bool, scan_key: str = "scan"):
        super().__init__(keys)
        self.output_dir, self.kspace, self.scan_key = Path(output_dir), kspace, scan_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Puts magnitudes [S, H, W] in the place of the output, and writes them.

        Raises:
            InputError: a file is there, or cannot be written.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            units = {"scale": item["scale"], "offset": 0 * item["offset"] if self.kspace else item["offset"]}
            images = restore_units(units, item[key].cpu())
            path = self.output_dir / f"{Path(item[self.scan_key]).stem}_reconstruction.nii.gz"
            write_private(path, slices_to_nifti(images, item["affine"].numpy()))
            item[key] = torch.from_numpy(images)
        return item
