# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE on the server's side."""

from flare_mri.workflows.iopfl import TrajectoryFedAvg
from flare_mri.workflows.outside import RouteOutside
from flare_mri.workflows.personalized_fedavg import PersonalizedFedAvg

__all__ = ["PersonalizedFedAvg", "RouteOutside", "TrajectoryFedAvg"]
