# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE on the hospital's side."""

from flare_mri.flare.executors.personalized import PersonalizedExecutor
from flare_mri.flare.executors.routing import RoutingExecutor

__all__ = ["PersonalizedExecutor", "RoutingExecutor"]
