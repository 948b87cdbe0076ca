# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The description ``metadata.json`` of a bundle, with the keys that MONAI's specification asks for."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import monai
import numpy
import torch
from monai.utils import IgniteInfo

from flare_mri import __version__
from flare_mri.bundle.plan import BundlePlan
from flare_mri.bundle.reconstruction_plan import ReconstructionBundle
from flare_mri.bundle.segmentation_plan import SegmentationBundle

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
"""Where MONAI keeps the schema that ``python -m monai.bundle verify_metadata`` fetches."""
VERSION = "1.0.0"
INTENDED_USE = "Research use only: it is no medical device, and nobody is to be diagnosed or treated by its output."
_WITH_EINOPS = ("SwinUNETR", "UNETR")
_LEARNED = "learned by personalised federated learning: a hospital's own model."


def describe_segmentation(plan: SegmentationBundle) -> dict[str, Any]:
    """The content of ``configs/metadata.json`` for a model of segmentation."""
    marked = plan.subject
    pieces = "slices between their two neighbours (2.5D)" if plan.patch_size is None else "3D patches"
    classes = ", ".join(f"{number} is {name}" for number, name in enumerate(("background", *plan.organs)))
    shape = plan.patch_size or plan.spatial_size
    image = _tensor(shape, plan.channels, "magnitude", patches=True)
    labels = _tensor(shape, ("background", *plan.organs), "labels", patches=True) | {"modality": "n/a"}
    return {
        **_describe(plan, {"flare-mri": __version__} if plan.needs_package else {}),
        "name": f"MRI segmentation: {marked}"[:200],
        "task": f"Segmentation of {marked} in MRI",
        "description": f"{plan.class_name} that marks {marked} in {pieces} of MR volumes, {_LEARNED}",
        "data_type": "nifti",
        "image_classes": "one channel, a whole MR volume, z-scored",
        "label_classes": classes,
        "pred_classes": classes,
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": labels}},
    }


def describe_reconstruction(plan: ReconstructionBundle) -> dict[str, Any]:
    """The content of ``configs/metadata.json`` for a model of reconstruction; sizes are those it learned from."""
    learned = plan.acquisition
    size, coils = learned.spatial_size, [f"coil {number + 1}" for number in range(learned.coils)]
    inputs = {
        "image": _tensor(size, ["zero-filled magnitude"], "magnitude"),
        "kspace": _tensor(size, coils, "kspace", "complex64"),
        "mask": _tensor(size, ["1 where k-space was sampled"], "raw", "bool") | {"value_range": [0, 1]},
        "sensitivities": _tensor(size, coils, "raw", "complex64"),
    }
    extra = {"flare-mri": __version__, "h5py": version("h5py")}
    if plan.sensitivities == "espirit":
        extra["sigpy"] = version("sigpy")
    return {
        **_describe(plan, extra),
        "name": "MRI reconstruction from undersampled k-space",
        "task": "Reconstruction of MR images from undersampled raw k-space",
        "description": f"{plan.class_name} that reconstructs slices of {learned.kspace} k-space of {learned.coils} "
        f"coils, {size[0]}x{size[1]}, acceleration {learned.acceleration:.1f}, {_LEARNED}",
        "data_type": "raw k-space: fastMRI's layout, ISMRMRD or BART",
        "image_classes": "k-space of one scan, divided by the standard deviation of its zero-filled image",
        "pred_classes": "one channel, magnitude",
        "network_data_format": {
            "inputs": {key: inputs[key] for key in plan.keys},
            "outputs": {"pred": _tensor(size, ["magnitude"], "magnitude")},
        },
    }


def _describe(plan: BundlePlan, packages: dict[str, str]) -> dict[str, Any]:
    """What bundles of both tasks say, with packages beside what MONAI itself needs."""
    needed = {"nibabel": version("nibabel"), "pytorch-ignite": IgniteInfo.OPT_IMPORT_VERSION}
    if plan.target.endswith(_WITH_EINOPS):
        needed["einops"] = version("einops")
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": {VERSION: "exported"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": numpy.__version__,
        "required_packages_version": {**needed, **packages},
        "authors": "a hospital that took part in federated training with flare-mri",
        "copyright": "the hospital that trained the model; see LICENSE",
        "intended_use": INTENDED_USE,
        "data_source": "not public: MR scans of hospitals, which none of them gave away",
    }


def _tensor(
    shape: Sequence[int], channels: Sequence[str], content: str, dtype: str = "float32", patches: bool = False
) -> dict[str, Any]:
    return {
        "type": "image",
        "format": content,
        "modality": "MR",
        "num_channels": len(channels),
        "spatial_shape": list(shape),
        "dtype": dtype,
        "value_range": [],
        "is_patch_data": patches,
        "channel_def": {str(number): name for number, name in enumerate(channels)},
    }
