# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""MONAI's end-to-end variational network, for k-space as samples hold it."""

from collections.abc import Sequence

import torch
from monai.apps.reconstruction.networks.nets.coil_sensitivity_model import CoilSensitivityModel
from monai.apps.reconstruction.networks.nets.complex_unet import ComplexUnet
from monai.apps.reconstruction.networks.nets.varnet import VariationalNetworkModel
from torch import Tensor

from flare_mri.errors import InputError

_LEVELS = 6  # of MONAI's BasicUNet


class VariationalNetwork(VariationalNetworkModel):
    """Unrolled reconstruction with learned coil sensitivities (Sriram et al., MICCAI 2020, arXiv 2004.06688).

    Every cascade corrects k-space by soft data consistency with a learned weight and by a U-Net in image space; a
    further network finds the coil sensitivities from the fully sampled centre. The encoders of all cascades are what
    ``shared_layers: encoder`` shares; decoders, data-consistency weights and the sensitivity network stay at the site.

    Args:
        num_cascades: unrolled steps.
        features: channels of the five levels of every cascade's U-Net and of its last upsampling.
        sensitivity_features: the same of the sensitivity network.

    Raises:
        InputError: not six numbers of channels.
    """

    sample_keys = ("kspace", "mask")

    def __init__(
        self,
        num_cascades: int = 4,
        features: Sequence[int] = (16, 32, 64, 128, 16, 16),
        sensitivity_features: Sequence[int] = (8, 16, 32, 64, 8, 8),
    ):
        for name, value in (("features", features), ("sensitivity_features", sensitivity_features)):
            if len(value) != _LEVELS:
                raise InputError(f"network: {name}: expected {_LEVELS} numbers of channels, got {len(value)}")
        sensitivities = CoilSensitivityModel(features=tuple(sensitivity_features))
        super().__init__(sensitivities, ComplexUnet(features=tuple(features)), num_cascades)

    def forward(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Reconstruct a batch of slices.

        Args:
            kspace: complex [B, coils, H, W], centred, orthonormal, zero where it was not sampled.
            mask: bool [B, 1, H, W]: whole columns, the central one among them.

        Returns:
            [B, 1, H, W] root sum of squares over the coils, in the unit of ``kspace``.

        Raises:
            InputError: a mask that is not of columns with an unsampled one at both ends of the centre; MONAI's
                sensitivity network knows no other.
        """
        columns = mask[:, 0].any(dim=1)
        if not torch.equal(columns[:, None].expand_as(mask[:, 0]), mask[:, 0]):
            raise InputError(
                "network: expected a mask of whole columns for VariationalNetwork, got another; use mask.kind "
                "equispaced or random, or another network"
            )
        centre = columns.shape[-1] // 2
        if not columns[:, centre].all() or columns[:, centre:].all(dim=1).any() or columns[:, :centre].all(dim=1).any():
            raise InputError(
                "network: expected a mask with a sampled centre and columns left out on both sides of it for "
                "VariationalNetwork, got another; undersample, or use another network"
            )
        pairs = torch.view_as_real(kspace)
        images = torch.empty(len(kspace), 1, *kspace.shape[2:], device=kspace.device, dtype=pairs.dtype)
        kinds, kind_of = columns.unique(dim=0, return_inverse=True)  # MONAI takes one mask for a batch
        for number, kind in enumerate(kinds):
            places = (kind_of == number).nonzero()[:, 0]
            images[places, 0] = super().forward(pairs[places], kind[None, None, None, :, None])
        return images
