# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""k-space, sampling masks and the MONAI transforms of both tasks."""
