# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""``inference.json`` of a segmentation bundle, in MONAI's own transforms, inferers and engine.

It says what :class:`~flare_mri.inference.segmentation.Segmenter` does: tests compare the two voxel by voxel.
"""

from typing import Any

from flare_mri.bundle.inference_config import inference_config
from flare_mri.bundle.segmentation_plan import SegmentationBundle
from flare_mri.datasets.pieces import OVERLAP

_SCANS = (
    "$[path for path in sorted(glob.glob(@dataset_dir + '/*')) if re.search(r'\\.nii(\\.gz)?$', path, re.I)"
    " and not re.search(r'[\\s_-]*seg(mentation)?\\.nii', path, re.I)]"
)
# MONAI 1.6 cannot write what comes of files with a channel axis in some orientations: a file is made one of a 3D image.
_CHANNEL = (
    "$lambda image: monai.data.MetaTensor(image.as_tensor()[..., {channel}], meta={{**image.meta, "
    "'original_channel_dim': 'no_channel'}})"
)
# Of the first and the last slice the neighbour that is not there is the slice itself.
_NEIGHBOURS = (
    "$lambda image: torch.cat([image.index_select({dim}, (torch.arange(image.shape[{dim}], device=image.device) + step)"
    ".clamp(0, image.shape[{dim}] - 1)) for step in (-1, 0, 1)])"
)


def segmentation_config(plan: SegmentationBundle) -> dict[str, Any]:
    """The content of ``configs/inference.json``.

    It reads all NIfTI files of ``dataset_dir`` but those named as labels, and writes ``<name>_segmentation.nii.gz`` to
    ``output_dir``.
    """
    return inference_config(
        plan,
        ["$import glob", "$import re", "$import monai", "$import numpy as np", "$import torch"],
        _SCANS,
        "image",
        preprocessing={"_target_": "Compose", "transforms": _preprocessing(plan)},
        inferer=_inferer(plan),
        postprocessing={"_target_": "Compose", "transforms": _postprocessing()},
    )


def _preprocessing(plan: SegmentationBundle) -> list[dict[str, Any]]:
    """As :func:`flare_mri.transforms.volume.segmentation_volume`, then the slices as the network's batch has them."""
    steps: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": "image", "reader": "NibabelReader"},
    ]
    if plan.channel is not None:
        steps.append({"_target_": "Lambdad", "keys": "image", "func": _CHANNEL.format(channel=plan.channel)})
    steps.append({"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": "no_channel"})
    if plan.orientation is not None:
        steps.append({"_target_": "Orientationd", "keys": "image", "axcodes": plan.orientation, "labels": None})
    if plan.spacing is not None:
        steps.append({"_target_": "Spacingd", "keys": "image", "pixdim": list(plan.spacing), "mode": "bilinear"})
    steps.append({"_target_": "NormalizeIntensityd", "keys": "image"})
    if plan.inverted:
        negative = {"minv": None, "maxv": None, "factor": -2.0}
        steps.append({"_target_": "ScaleIntensityd", "keys": "image", **negative})
    size = list(plan.spatial_size)
    size.insert(plan.slice_axis, -1)
    if plan.fit == "pad":
        steps.append({"_target_": "ResizeWithPadOrCropd", "keys": "image", "spatial_size": size})
    else:
        how = {"mode": "bilinear", "anti_aliasing": True}
        steps.append({"_target_": "Resized", "keys": "image", "spatial_size": size, **how})
    if plan.patch_size is None:
        func = _NEIGHBOURS.format(dim=plan.slice_axis + 1)
        steps.append({"_target_": "Lambdad", "keys": "image", "func": func})
    elif plan.slice_axis != 0:
        axes = [axis for axis in range(3) if axis != plan.slice_axis]
        order = [0, *(1 + axis for axis in (plan.slice_axis, *axes))]
        steps.append({"_target_": "Transposed", "keys": "image", "indices": order})
    return steps


def _inferer(plan: SegmentationBundle) -> dict[str, Any]:
    if plan.patch_size is None:
        sizes = {"roi_size": list(plan.spatial_size), "sw_batch_size": plan.batch_size}
        return {"_target_": "SliceInferer", "spatial_dim": plan.slice_axis, **sizes}
    sizes = {"roi_size": list(plan.patch_size), "sw_batch_size": plan.batch_size}
    return {"_target_": "SlidingWindowInferer", **sizes, "overlap": OVERLAP, "mode": "gaussian"}


def _postprocessing() -> list[dict[str, Any]]:
    """From logits to classes on the scan's own voxels, in a file."""
    return [
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": True,
            "to_tensor": True,
        },
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "segmentation",
            "output_ext": ".nii.gz",
            "output_dtype": "$np.uint8",
            "resample": False,
            "separate_folder": False,
        },
    ]
