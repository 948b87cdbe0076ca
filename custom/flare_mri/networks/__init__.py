# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Networks, and which layers of them are shared and which private."""

from flare_mri.networks.build import (
    SharedPart,
    build_meta_network,
    build_meta_state,
    build_network,
    check_fits,
    check_size,
    check_state,
    sample_keys,
)
from flare_mri.networks.dual_domain import DualDomainUNet
from flare_mri.networks.encoders import encoder_prefixes
from flare_mri.networks.shared_layers import SHARED_LAYERS, shared_keys
from flare_mri.networks.state_check import problem_in_state
from flare_mri.networks.unet import UNet
from flare_mri.networks.unrolled import UnrolledNetwork
from flare_mri.networks.variational import VariationalNetwork

__all__ = [
    "SHARED_LAYERS",
    "DualDomainUNet",
    "SharedPart",
    "UNet",
    "UnrolledNetwork",
    "VariationalNetwork",
    "build_network",
    "check_fits",
    "check_size",
    "check_state",
    "encoder_prefixes",
    "build_meta_state",
    "build_meta_network",
    "problem_in_state",
    "sample_keys",
    "shared_keys",
]
