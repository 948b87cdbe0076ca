# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Local training: nothing is shared."""

from flare_mri.methods.base import Method

METHOD = Method(
    name="local-only",
    description="Every site trains alone; no weights leave it.",
    result="its own network",
    shared_layers="none",
)
