# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Mixed precision of training on a GPU."""

import torch


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of a step's forward pass: bfloat16, where it is asked for on a GPU, needs no scaling of gradients.

    Args:
        device: where the site trains.
        precision: of :attr:`flare_mri.config.training.TrainingSettings.precision`.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16" and device.type == "cuda")
