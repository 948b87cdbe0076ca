# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A hospital's images: settings, readers of real formats, k-space, masks, the phantom and the training data sets."""
