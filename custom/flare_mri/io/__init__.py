# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Readers of real formats: bounded, checked, one registry entry a format."""
