# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Encoders of networks as dotted prefixes, contracting path and bottleneck: of ours and of seven of MONAI's."""

from collections.abc import Callable
from typing import Any

from monai.networks.nets import AttentionUnet, BasicUNet, DynUNet, FlexibleUNet, SegResNet, SwinUNETR, UNet
from torch import nn

from flare_mri.networks.dual_domain import DualDomainUNet
from flare_mri.networks.unrolled import UnrolledNetwork
from flare_mri.networks.variational import VariationalNetwork


def _in_unet(network: Any) -> list[str]:
    """Blocks that nest: each holds its way down as ``0``, the next block as ``1.submodule`` and its way up as ``2``."""
    blocks = ["model" + ".1.submodule" * depth for depth in range(len(network.channels) - 1)]
    return [f"{block}.0" for block in blocks] + [f"{blocks[-1]}.1.submodule"]


def _in_attention_unet(network: Any) -> list[str]:
    """As in UNet, but that the way down lies in the submodule, and what a block itself holds leads up."""
    blocks = ["model.1" + ".submodule.1" * depth for depth in range(len(network.channels) - 1)]
    return ["model.0", *(f"{block}.submodule.0" for block in blocks[:-1]), f"{blocks[-1]}.submodule"]


def _in_unrolled(network: Any) -> list[str]:
    """Those of all cascades, in their order."""
    if isinstance(getattr(network, "encoder", None), nn.Module):
        return [f"encoder.{i}" for i in range(len(network.encoder))]
    return [f"regulariser.{i}.{p}" for i, inner in enumerate(network.regulariser) for p in encoder_prefixes(inner)]


_IN_BASIC_UNET = ["conv_0", "down_1", "down_2", "down_3", "down_4"]

_ENCODERS: dict[type[nn.Module], Callable[[Any], list[str]]] = {
    AttentionUnet: _in_attention_unet,
    BasicUNet: lambda network: _IN_BASIC_UNET,
    DualDomainUNet: lambda network: ["encoder.kspace", "encoder.image"],
    DynUNet: lambda network: [
        *(f"downsamples.{i}" for i in range(len(network.downsamples))),
        "input_block",
        "bottleneck",
    ],
    FlexibleUNet: lambda network: ["encoder"],
    SegResNet: lambda network: ["convInit", *(f"down_layers.{i}" for i in range(len(network.down_layers)))],
    SwinUNETR: lambda network: ["swinViT", "encoder1", "encoder2", "encoder3", "encoder4", "encoder10"],
    UNet: _in_unet,
    UnrolledNetwork: _in_unrolled,
    VariationalNetwork: lambda network: [
        f"cascades.{i}.model.unet.{prefix}" for i in range(len(network.cascades)) for prefix in _IN_BASIC_UNET
    ],
}
"""By exact class: a class derived from one of these may nest otherwise."""
NAMES = tuple(sorted(f"monai.networks.nets.{c.__name__}" for c in _ENCODERS if c.__module__.startswith("monai.")))
"""MONAI's networks that the shared_layers "encoder" knows."""


def encoder_prefixes(network: nn.Module) -> list[str]:
    """The dotted prefixes of a network's encoder, the bottleneck last; empty where that is not known.

    Other networks have an encoder where they have a submodule of that name.
    """
    if type(network) in _ENCODERS:
        return _ENCODERS[type(network)](network)
    return ["encoder"] if isinstance(getattr(network, "encoder", None), nn.Module) else []
