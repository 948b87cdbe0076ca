# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The U-Net of both papers, split where FedMRI splits it: a shared encoder and a private decoder."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution
from monai.networks.layers.factories import Conv, Norm, Pool
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from flare_mri.errors import InputError


class _OnePixelToo(_InstanceNorm):
    """Instance norm that also takes a single pixel, which is its own mean and becomes 0.

    PyTorch refuses that case, and it is the bottleneck of the smallest image a U-Net can pool.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[2:].numel() == 1:
            return input - input  # not zeros_like: the parameters before it keep their (zero) gradient
        return super().forward(input)


class InstanceNorm2d(_OnePixelToo, nn.InstanceNorm2d):
    """Of images."""


class InstanceNorm3d(_OnePixelToo, nn.InstanceNorm3d):
    """Of volumes."""


@Norm.factory_function("one_pixel_instance")
def _instance_norm(spatial_dims: int) -> type[nn.Module]:
    return {2: InstanceNorm2d, 3: InstanceNorm3d}[spatial_dims]


NORMS = {"instance": "one_pixel_instance", "batch": "batch", "group": "group"}  # what MONAI's factory calls them
_MOST_GROUPS = 8
POOLS = ("avg", "max")
DECODERS = ("plain", "refined")
UPSAMPLINGS = ("normalised", "linear")


def _norm(name: str, channels: int) -> Any:
    """A normalisation as MONAI's blocks take it; groups have two channels at least, for a bottleneck of one pixel."""
    if name != "group":
        return NORMS[name]
    groups = math.gcd(channels, _MOST_GROUPS)
    return NORMS[name], {"num_groups": groups // 2 if groups == channels > 1 else groups}


def _layers(convolution: Convolution) -> list[nn.Module]:
    """The layers of MONAI's block one after the other, so that their names are the same whatever it calls its parts."""
    return [convolution.conv, *getattr(convolution, "adn", ())]


def _upsampling(spatial_dims: int, width: int, upsampling: str, norm: str, negative_slope: float) -> nn.Sequential:
    """From 2 * ``width`` channels to ``width`` on twice the size."""
    linear = upsampling == "linear"
    block = Convolution(
        spatial_dims,
        2 * width,
        width,
        strides=2,
        kernel_size=2,
        adn_ordering="NA",
        norm=_norm(norm, width),
        act=("leakyrelu", {"negative_slope": negative_slope, "inplace": True}),
        bias=linear,
        conv_only=linear,
        is_transposed=True,
        padding=0,
        output_padding=0,
    )
    return nn.Sequential(*_layers(block))


class ConvBlock(nn.Sequential):
    """(3x3 convolution, norm, LeakyReLU, dropout) twice: [B, ``in_channels``, H, W] -> [B, ``out_channels``, H, W]."""

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, norm: str, negative_slope: float, dropout: float
    ):
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            block = Convolution(
                spatial_dims,
                channels,
                out_channels,
                adn_ordering="NAD",
                norm=_norm(norm, out_channels),
                act=("leakyrelu", {"negative_slope": negative_slope, "inplace": True}),
                dropout=dropout,
                dropout_dim=spatial_dims,
                bias=False,
            )
            layers += _layers(block)
        super().__init__(*layers)


class Encoder(nn.Module):
    """Contracting path and bottleneck. Arguments as in :class:`UNet`."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_pools: int,
        norm: str = "instance",
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        pool: str = "avg",
        spatial_dims: int = 2,
    ):
        super().__init__()
        widths = [in_channels, *(channels * 2**level for level in range(num_pools + 1))]
        self.blocks = nn.ModuleList(
            ConvBlock(spatial_dims, before, after, norm, negative_slope, dropout)
            for before, after in zip(widths[:-1], widths[1:], strict=True)
        )
        self.pool = Pool[pool, spatial_dims](2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, ``in_channels``, H, W] -> the skips, finest first, then the bottleneck.

        Level l is [B, ``channels`` * 2^l, H // 2^l, W // 2^l] for l = 0 ... ``num_pools``.

        Raises:
            InputError: H or W is below 2^``num_pools``.
        """
        num_pools = len(self.blocks) - 1
        if min(x.shape[2:]) < 2**num_pools:
            raise InputError(
                f"U-Net input: expected height and width >= {2**num_pools} for {num_pools} poolings, "
                f"got {tuple(x.shape[2:])}; lower num_pools or use larger images"
            )
        features = [self.blocks[0](x)]
        for block in self.blocks[1:]:
            features.append(block(self.pool(features[-1])))
        return features


class Decoder(nn.Module):
    """Expanding path and output convolution. Arguments as in :class:`UNet`; ``refined`` is ``decoder="refined"``."""

    def __init__(
        self,
        out_channels: int,
        channels: int,
        num_pools: int,
        norm: str = "instance",
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        refined: bool = False,
        upsampling: str = "normalised",
        spatial_dims: int = 2,
    ):
        super().__init__()
        widths = [channels * 2**level for level in reversed(range(num_pools))]
        self.ups = nn.ModuleList(_upsampling(spatial_dims, width, upsampling, norm, negative_slope) for width in widths)
        self.blocks = nn.ModuleList(
            ConvBlock(spatial_dims, 2 * width, width, norm, negative_slope, dropout) for width in widths
        )
        conv = Conv[Conv.CONV, spatial_dims]
        # The published refinement has neither norm nor activation.
        self.refine = conv(channels, channels, 3, padding=1, bias=False) if refined else nn.Identity()
        self.output = conv(channels, out_channels, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Decode the features of :class:`Encoder` to [B, ``out_channels``, H, W]."""
        *skips, x = features
        for up, block, skip in zip(self.ups, self.blocks, reversed(skips), strict=True):
            x = up(x)
            missing = [wanted - had for wanted, had in zip(skip.shape[:1:-1], x.shape[:1:-1], strict=True)]
            if any(missing):  # the skip has an odd size, of which pooling dropped the last row or column
                x = F.pad(x, [pad for last in missing for pad in (0, last)], mode="reflect")
            x = block(torch.cat([x, skip], dim=1))
        return self.output(self.refine(x))


def check_options(
    channels: int,
    num_pools: int,
    norm: str,
    pool: str,
    decoder: str,
    upsampling: str = "normalised",
    spatial_dims: int = 2,
) -> None:
    """Raises InputError for U-Net options that name nothing or cannot be built."""
    for key, value, known in (
        ("norm", norm, NORMS),
        ("pool", pool, POOLS),
        ("decoder", decoder, DECODERS),
        ("upsampling", upsampling, UPSAMPLINGS),
    ):
        if value not in known:
            raise InputError(f"U-Net {key}: expected one of {', '.join(known)}, got {value!r}")
    sizes = (("channels", channels, 1, 2**20), ("num_pools", num_pools, 1, 12), ("spatial_dims", spatial_dims, 2, 3))
    for key, number, least, most in sizes:
        if not isinstance(number, int) or not least <= number <= most:
            raise InputError(f"U-Net {key}: expected an integer from {least} to {most}, got {number!r}")


class UNet(nn.Module):
    r"""U-Net :math:`D(E(x))` with ``encoder`` E (contracting path and bottleneck) and ``decoder`` D as submodules.

    The defaults are FedMRI's network (Feng et al., arXiv 2112.05752). IOP-FL's (Jiang et al., arXiv 2204.08467) is
    ``UNet(in_channels=3, out_channels=2, norm="batch", negative_slope=0.0, pool="max", upsampling="linear")``;
    ``jobs/iopfl`` uses it without the last two, unless its ``--network_args`` say otherwise.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        channels: channels of the finest level; every pooling doubles them.
        num_pools: number of 2x poolings.
        norm: "instance" (no affine parameters, no running statistics), "batch" or "group" (up to 8 groups).
        negative_slope: of the LeakyReLUs; 0 is a ReLU.
        dropout: probability of dropping a channel after each activation of a ConvBlock.
        pool: "avg" or "max".
        decoder: "plain", or "refined" with one more 3x3 convolution before the output: the paper's two decoders.
        upsampling: transposed convolutions "normalised" (norm and LeakyReLU follow), or "linear" (a bias alone).
        spatial_dims: 2 for images [B, C, H, W], 3 for volumes [B, C, D, H, W].

    Raises:
        InputError: an option that is not one of these.

    Example:
        >>> UNet(channels=8, num_pools=2)(torch.zeros(1, 1, 33, 47)).shape
        torch.Size([1, 1, 33, 47])
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: int = 32,
        num_pools: int = 4,
        norm: str = "instance",
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        pool: str = "avg",
        decoder: str = "plain",
        upsampling: str = "normalised",
        spatial_dims: int = 2,
    ):
        super().__init__()
        check_options(channels, num_pools, norm, pool, decoder, upsampling, spatial_dims)
        common = (channels, num_pools, norm, negative_slope, dropout)
        self.encoder = Encoder(in_channels, *common, pool, spatial_dims)
        self.decoder = Decoder(out_channels, *common, decoder == "refined", upsampling, spatial_dims)

    def forward(self, x: Tensor) -> Tensor:
        """[B, ``in_channels``, H, W] -> [B, ``out_channels``, H, W], for any H, W (and D) >= 2^``num_pools``."""
        return self.decoder(self.encoder(x))
