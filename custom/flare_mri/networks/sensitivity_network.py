# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Coil sensitivities by a small network that learns with the reconstruction."""

import torch
from torch import Tensor, nn

from flare_mri.networks.complex_images import apply_to_complex
from flare_mri.networks.unet import UNet
from flare_mri.physics.coil_sensitivities import centre_window, normalise_sensitivities
from flare_mri.physics.fourier import ifft2c


class SensitivityNetwork(nn.Module):
    r"""Finds coil sensitivities in the fully sampled centre of k-space.

    With the centre's images :math:`c_c = \mathcal F^{-1} W y_c` of each coil and one U-Net :math:`U` for all of them
    (Sriram et al., E2E-VarNet, MICCAI 2020, arXiv 2004.06688),

    .. math::
        S = \frac{c + U(c)}{\sqrt{\sum_c |c + U(c)|^2}}

    The U-Net's output convolution starts at zero: untrained, it gives the coils' low-resolution images divided by their
    root sum of squares. A coil that measures nothing keeps zeros.

    Args:
        channels: of the U-Net's finest level.
        num_pools: of the U-Net.
    """

    def __init__(self, channels: int = 8, num_pools: int = 3):
        super().__init__()
        self._multiple = 2**num_pools
        self.unet = UNet(2, 2, channels, num_pools)
        for parameter in self.unet.decoder.output.parameters():
            nn.init.zeros_(parameter)

    def forward(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Sensitivities of any number of coils.

        Args:
            kspace: complex [B, C, H, W], centred.
            mask: bool or 0/1 [B, 1, H, W].

        Returns:
            complex [B, C, H, W], sum of squares 1 over the coils.

        Raises:
            InputError: a mask that leaves out zero frequency.
        """
        centre = ifft2c(kspace * centre_window(mask))
        scale = centre.abs().amax((1, 2, 3), keepdim=True)
        centre = centre / torch.where(scale > 0, scale, 1)
        correction = apply_to_complex(self.unet, centre.flatten(0, 1)[:, None], self._multiple)
        maps = centre + correction.view_as(centre)
        alive = centre.abs().amax((2, 3), keepdim=True) > 0
        return normalise_sensitivities(alive * maps)
