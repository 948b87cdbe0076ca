# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""All but the last layer is averaged (Arivazhagan et al., FedPer, arXiv 1912.00818)."""

from flare_mri.methods.base import Method

METHOD = Method(
    name="all-but-last",
    description="All but the last layer is averaged, which every site keeps to itself.",
    result="the global model with its own last layer",
    shared_layers="all_but_last",
)
