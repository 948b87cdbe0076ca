# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Filters of FLARE messages."""

from flare_mri.flare.filters.shared_part_only import SharedPartOnly
from flare_mri.flare.filters.update_privacy import UpdatePrivacy

__all__ = ["SharedPartOnly", "UpdatePrivacy"]
