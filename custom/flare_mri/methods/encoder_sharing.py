# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Encoder sharing: a global encoder, private decoders, no further term (FedMRI with β = 0; Collins et al., FedPer)."""

from flare_mri.methods.base import Method

METHOD = Method(
    name="encoder-sharing",
    description="The encoder is averaged, every site keeps and trains its own decoder.",
    result="the global encoder with its own decoder",
    shared_layers="encoder",
)
