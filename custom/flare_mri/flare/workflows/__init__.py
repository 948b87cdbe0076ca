# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE on the server's side."""

from flare_mri.flare.workflows.outside import RouteOutside
from flare_mri.flare.workflows.personalized_fedavg import PersonalizedFedAvg

__all__ = ["PersonalizedFedAvg", "RouteOutside"]
