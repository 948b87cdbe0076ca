# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""New scans in the orientation that a model knows, and its results on the scan's own voxels as NIfTI."""

import gzip
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, NibabelWriter
from monai.transforms import Compose

from flare_mri.config.data import DataSettings
from flare_mri.datasets.pictures import upright_slice
from flare_mri.datasets.volumes import build_pipeline, put_slices, take_slices
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.io.scan import Scan
from flare_mri.transforms.volume import IMAGE, run_pipeline, to_scan_grid


@dataclass(frozen=True)
class PlacedScan:
    """A scan as a network takes it, and the way back.

    Attributes:
        scan: as it was found.
        pipeline: of whole volumes.
        item: of the pipeline; its image [1, I, J, K] holds the operations to undo.
        axis: of the slices, without the channel.
        kept: numbers of the slices to use.
    """

    scan: Scan
    pipeline: Compose
    item: dict[str, Any]
    axis: int
    kept: list[int]

    @property
    def slices(self) -> np.ndarray:
        """float32 [K, H, W]."""
        return take_slices(self.item[IMAGE], self.axis)[self.kept]

    @property
    def place_known(self) -> bool:
        """Whether the scan says where in the patient it lies."""
        return bool(self.item[IMAGE].meta["affine_known"])

    def to_scan(self, slices: np.ndarray, nearest: bool) -> MetaTensor:
        """Slices [K, H, W] of a result on the scan's own voxels [I, J, K]; 0 in slices that were not used.

        Args:
            slices: of the result.
            nearest: whether values are labels, which are not to be mixed.
        """
        volume = put_slices(slices, self.kept, self.item[IMAGE], self.axis)
        return to_scan_grid(volume, self.pipeline, self.item, nearest)

    def to_look_at(self, part: np.ndarray) -> np.ndarray:
        """A slice [H, W] upright as radiologists see it; as it is where the scan does not say how the patient lies."""
        return upright_slice(part, self.item[IMAGE].affine.numpy(), self.axis) if self.place_known else part

    def tell_slice(self, index: int) -> str:
        """Such as `slice 8 of 14`, counted from 1, of one of :attr:`slices`."""
        return f"slice {self.kept[index] + 1} of {self.item[IMAGE].shape[self.axis + 1]}"

    def describe_rest(self) -> str:
        """End of a line of progress about slices left out and an unknown place; empty where there is neither."""
        total = self.item[IMAGE].shape[self.axis + 1]
        words = "" if len(self.kept) == total else f" of {total} (data.slices), the others 0"
        return words + ("" if self.place_known else "; the scan does not say where it lies, nor does the result")


def place_scan(scan: Scan, model: PersonalModel, data: DataSettings) -> PlacedScan:
    """Read a scan and turn it as the model's were.

    The model's orientation and slice axis count before those of `data`, which may have changed since.

    Args:
        scan: not read yet; its label is not looked at.
        model: the hospital's own.
        data: settings of the site.

    Raises:
        InputError: a scan that cannot be read, or slices of another size than the model knows.
    """
    geometry = scan.image.geometry()
    stored = geometry.axcodes
    known = model.orientations
    orientation = (stored if stored in known else known[0]) if stored and known else None
    axis = data.find_slice_axis() if model.slice_axis is None else model.slice_axis
    pipeline = build_pipeline(model.task, data, False, orientation, axis)
    item = run_pipeline(pipeline, {IMAGE: scan.image})
    count = item[IMAGE].shape[axis + 1]
    placed = PlacedScan(scan, pipeline, item, axis, list(data.slices.indices(count)))
    height, width = (size for at, size in enumerate(item[IMAGE].shape[1:]) if at != axis)
    model.check_knows(scan.origin, (height, width))
    return placed


def encode_nifti(volume: MetaTensor, dtype: type) -> bytes:
    """A volume [I, J, K] as ``.nii.gz`` at its own place, by the object of MONAI's NIfTI writer.

    ``SaveImage`` itself writes files alone, under names of its own, readable by others.

    Args:
        volume: with the scan's affine.
        dtype: NumPy type of the voxels.
    """
    image = NibabelWriter.create_backend_obj(volume.numpy(), affine=volume.affine.numpy(), dtype=dtype)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"flare-mri"
    return gzip.compress(image.to_bytes(), mtime=0)


def slices_to_nifti(images: np.ndarray, affine: np.ndarray) -> bytes:
    """Slices [S, H, W] as ``.nii.gz`` of [H, W, S].

    Args:
        images: of any type that NIfTI knows.
        affine: [4, 4], from voxels (h, w, s) to mm, RAS.
    """
    volume = MetaTensor(torch.from_numpy(images).movedim(0, -1), affine=torch.from_numpy(affine))
    return encode_nifti(volume, images.dtype.type)
