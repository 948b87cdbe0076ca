# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Samples, splits, the memory-mapped cache and the phantoms."""
