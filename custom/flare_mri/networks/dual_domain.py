# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI's frequency-and-image variant: the same scheme in k-space, then in image space."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from flare_mri.networks.unet import Decoder, Encoder, check_options
from flare_mri.physics.fourier import fftc, ifftc


class DualDomainUNet(nn.Module):
    r"""Reconstruct the magnitude image from undersampled single-coil k-space, in both domains.

    With sampled k-space :math:`y`, mask :math:`M`, centred orthonormal :math:`\mathcal F` and data consistency
    :math:`C(k) = M y + (1 - M) k`:

    .. math::
        x_1 = \mathcal F^{-1} C(y + D_k(E_k(y))), \qquad
        x_2 = \mathcal F^{-1} C(\mathcal F(x_1 + D_i(E_i(x_1)))), \qquad \hat x = |x_2|

    ``encoder.kspace`` and ``encoder.image`` are shared, ``decoder.kspace`` and ``decoder.image`` private under
    ``shared_layers: encoder``. Both U-Nets have 2 channels, real and imaginary part, and their output convolutions
    start at zero, so that the untrained network returns the zero-filled image (k-space spans orders of magnitude:
    a random correction of it would drown the image).

    Args: as in :class:`flare_mri.networks.unet.UNet`.

    Raises:
        InputError: an option that does not exist.
    """

    sample_keys = ("kspace", "mask")

    def __init__(
        self,
        channels: int = 32,
        num_pools: int = 4,
        norm: str = "instance",
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        pool: str = "avg",
        decoder: str = "plain",
        spatial_dims: int = 2,
    ):
        super().__init__()
        check_options(channels, num_pools, norm, pool, decoder, spatial_dims=spatial_dims)
        common = (2, channels, num_pools, norm, negative_slope, dropout)
        encoders, decoders = {}, {}
        for domain in ("kspace", "image"):
            encoders[domain] = Encoder(*common, pool, spatial_dims)
            decoders[domain] = Decoder(*common, decoder == "refined", spatial_dims=spatial_dims)
            for parameter in decoders[domain].output.parameters():
                nn.init.zeros_(parameter)
        self.encoder, self.decoder = nn.ModuleDict(encoders), nn.ModuleDict(decoders)

    def forward(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Reconstruct a batch of slices.

        Args:
            kspace: complex [B, 1, H, W], centred, orthonormal, zero where it was not sampled; [B, 1, D, H, W] in 3D,
                all axes encoded.
            mask: bool [B, 1, H, W] (or broadcastable), true where k-space was sampled.

        Returns:
            [B, 1, H, W] magnitude >= 0, in the unit of ``kspace``.
        """
        measured = torch.view_as_real(kspace[:, 0]).movedim(-1, 1).contiguous()
        spectrum = torch.where(mask, measured, self._refine("kspace", measured))
        image = self._refine("image", _transform(spectrum, ifftc))
        spectrum = torch.where(mask, measured, _transform(image, fftc))
        # vector_norm, unlike sqrt, has a finite gradient where the image is exactly 0
        return torch.linalg.vector_norm(_transform(spectrum, ifftc), dim=1, keepdim=True)

    def _refine(self, domain: str, x: Tensor) -> Tensor:
        return x + self.decoder[domain](self.encoder[domain](x))


def _transform(x: Tensor, transform: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Apply a centred transform to the real and imaginary parts [B, 2, H, W], over all spatial axes."""
    pairs = torch.view_as_complex(x.movedim(1, -1).contiguous())
    return torch.view_as_real(transform(pairs, x.dim() - 2)).movedim(-1, 1).contiguous()
