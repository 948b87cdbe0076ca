# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedAvg: the whole network is averaged (McMahan et al., AISTATS 2017, arXiv 1602.05629)."""

from flare_mri.methods.base import Method

METHOD = Method(
    name="FedAvg",
    description="The whole network is averaged after every round.",
    result="the global model",
    shared_layers="all",
)
