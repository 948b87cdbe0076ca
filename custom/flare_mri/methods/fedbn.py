# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedBN: all but the normalisation layers is averaged (Li et al., ICLR 2021, arXiv 2102.07623)."""

from flare_mri.methods.base import Method

METHOD = Method(
    name="FedBN",
    description="All but the normalisation layers is averaged; they and their statistics stay at the site.",
    result="the global model with its own normalisation layers",
    shared_layers="all_but_norm",
)
