# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""MONAI's networks whose encoder is known, as small as they go on slices of 32x32, as a job would name them."""

from typing import Any

ARGUMENTS: dict[str, dict[str, Any]] = {
    "AttentionUnet": {"channels": [4, 8, 8], "strides": [2, 2]},
    "BasicUNet": {"features": [4] * 6},
    "DynUNet": {
        "kernel_size": [3, 3, 3, 3],
        "strides": [1, 2, 2, 2],
        "upsample_kernel_size": [2, 2, 2],
        "filters": [4, 4, 8, 8],
    },
    "FlexibleUNet": {"backbone": "resnet10", "decoder_channels": [8, 8, 8, 4, 4]},  # the smallest; EfficientNets too
    "SegResNet": {"init_filters": 4, "norm": ["group", {"num_groups": 2}]},
    "SwinUNETR": {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1], "norm_name": "batch"},
    "UNet": {"channels": [4, 8, 8, 8], "strides": [2, 2, 2], "num_res_units": 1},
}


def spec(name: str, **more: Any) -> dict[str, Any]:
    """Network settings that leave to the task what a task fixes."""
    return {"path": f"monai.networks.nets.{name}", "args": {**ARGUMENTS[name], **more}}
