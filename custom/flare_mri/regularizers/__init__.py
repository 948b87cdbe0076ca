# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Terms that a site adds to its loss."""

from flare_mri.regularizers.weighted_contrastive import WeightedContrastive

__all__ = ["WeightedContrastive"]
