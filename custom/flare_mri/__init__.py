# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Personalised federated learning for MRI, as NVIDIA FLARE jobs."""

__version__ = "1.0.0"
