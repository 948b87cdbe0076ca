# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a job's network: the class by name, and its arguments."""

from typing import Any, ClassVar, Literal

from flare_mri.config.base import Settings


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
