# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Readers of complex multi-coil k-space as scanners store it: fastMRI, ISMRMRD and BART files."""
