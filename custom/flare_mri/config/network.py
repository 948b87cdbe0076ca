# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a job's network: the class by name, and its arguments."""

from typing import Any, ClassVar, Literal

from flare_mri.config.base import Settings

U_NETS = ("flare_mri.networks.unet.UNet", "flare_mri.networks.dual_domain.DualDomainUNet")
UNROLLED = "flare_mri.networks.unrolled.UnrolledNetwork"
WITH_ENCODER = (*U_NETS, UNROLLED)
"""This package's networks whose encoder is the submodule ``encoder``, by their one full name; of the unrolled network
with a U-Net as its regulariser."""
OWN = (*WITH_ENCODER, "flare_mri.networks.variational.VariationalNetwork")
"""All of this package's networks, as policies list them."""
U_NET_DEFAULTS = {"channels": 32, "num_pools": 4, "norm": "instance", "decoder": "plain"}
"""Arguments of a U-Net that are options of jobs, as :class:`~flare_mri.networks.unet.UNet` has them: help tells them
without PyTorch, and a test compares."""


class NetworkSettings(Settings):
    """The network that all sites and the server build; which classes and values are admitted says
    :mod:`flare_mri.networks.admitted`.
    """

    fix: ClassVar[str] = "correct the job"

    path: str
    """Full name of the network's class, such as `flare_mri.networks.unet.UNet` or `monai.networks.nets.BasicUNet`."""

    args: dict[str, Any] = {}
    """Its arguments by name: numbers, truth values, short names, and lists and mappings of these."""

    config_type: Literal["dict"] = "dict"
    """Keeps FLARE from building the object itself."""
