# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The description ``metadata.json`` of a bundle, with the keys that MONAI's specification asks for."""

from importlib.metadata import version
from typing import Any

import monai
import numpy
import torch
from monai.utils import IgniteInfo

from flare_mri import __version__
from flare_mri.bundle.plan import BundlePlan

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
"""Where MONAI keeps the schema that ``python -m monai.bundle verify_metadata`` fetches."""
VERSION = "1.0.0"
INTENDED_USE = "Research use only: it is no medical device, and nobody is to be diagnosed or treated by its output."
_WITH_EINOPS = ("SwinUNETR", "UNETR")


def describe_bundle(plan: BundlePlan) -> dict[str, Any]:
    """The content of ``configs/metadata.json``."""
    marked = ", ".join(plan.organs)
    pieces = "slices between their two neighbours (2.5D)" if plan.patch_size is None else "3D patches"
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": {VERSION: "exported"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": numpy.__version__,
        "required_packages_version": _packages(plan),
        "name": f"MRI segmentation: {marked}"[:200],
        "task": f"Segmentation of {marked} in MRI",
        "description": f"{plan.target.rpartition('.')[2]} that marks {marked} in {pieces} of MR volumes, learned by "
        "personalised federated learning: a hospital's own model.",
        "authors": "a hospital that took part in federated training with flare-mri",
        "copyright": "the hospital that trained the model; see LICENSE",
        "intended_use": INTENDED_USE,
        "data_source": "not public: MR scans of hospitals, which none of them gave away",
        "data_type": "nifti",
        "image_classes": "one channel, a whole MR volume, z-scored",
        "label_classes": _classes(plan),
        "pred_classes": _classes(plan),
        "network_data_format": {"inputs": {"image": _input(plan)}, "outputs": {"pred": _output(plan)}},
    }


def _packages(plan: BundlePlan) -> dict[str, str]:
    """Beside what MONAI itself needs."""
    found = {"nibabel": version("nibabel"), "pytorch-ignite": IgniteInfo.OPT_IMPORT_VERSION}
    if plan.target.endswith(_WITH_EINOPS):
        found["einops"] = version("einops")
    return {**found, "flare-mri": __version__} if plan.own_network else found


def _classes(plan: BundlePlan) -> str:
    return ", ".join(f"{number} is {name}" for number, name in enumerate(("background", *plan.organs)))


def _input(plan: BundlePlan) -> dict[str, Any]:
    channels = ("slice before", "slice", "slice after") if plan.patch_size is None else ("image",)
    return _tensor(plan, channels, {"format": "magnitude", "modality": "MR"})


def _output(plan: BundlePlan) -> dict[str, Any]:
    return _tensor(plan, ("background", *plan.organs), {"format": "labels", "modality": "n/a"})


def _tensor(plan: BundlePlan, channels: tuple[str, ...], kind: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "image",
        **kind,
        "num_channels": len(channels),
        "spatial_shape": list(plan.patch_size or plan.spatial_size),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(number): name for number, name in enumerate(channels)},
    }
