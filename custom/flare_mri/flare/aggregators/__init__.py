# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Partial-model aggregation on the server."""

from flare_mri.flare.aggregators.partial import PartialAggregator

__all__ = ["PartialAggregator"]
