# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""IOP-FL at an outside site: a network routed over all personal models, adapted without labels."""

from flare_mri.routing.adaptation import MIN_SLICES, AdaptationReport, SiteView, adapt, examine
from flare_mri.routing.losses import ENTROPY_REDUCTIONS, TestTimeLoss, consistency, entropy, shape_term
from flare_mri.routing.network import (
    adaptable_parameters,
    build_routed_network,
    check_axes,
    check_experts,
    check_routable,
    find_routed_layers,
    fix_routing,
    record_routing,
)

__all__ = [
    "ENTROPY_REDUCTIONS",
    "MIN_SLICES",
    "AdaptationReport",
    "SiteView",
    "TestTimeLoss",
    "adapt",
    "adaptable_parameters",
    "build_routed_network",
    "check_axes",
    "check_experts",
    "check_routable",
    "consistency",
    "entropy",
    "examine",
    "fix_routing",
    "record_routing",
    "find_routed_layers",
    "shape_term",
]
