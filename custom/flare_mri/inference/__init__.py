# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A hospital's own model on its new scans: files in, files out, nothing sent."""
