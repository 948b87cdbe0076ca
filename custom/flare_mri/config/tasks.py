# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Tasks that sites learn."""

RECONSTRUCTION, SEGMENTATION = "reconstruction", "segmentation"
