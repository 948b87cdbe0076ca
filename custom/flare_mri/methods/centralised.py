# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Centralised training: one site holds the data of all, to compare federations with."""

from flare_mri.methods.base import Method

METHOD = Method(
    name="centralised",
    description="One site holds the data of all; what a federation is compared with, not a federation.",
    result="the one network",
    shared_layers="all",
)
