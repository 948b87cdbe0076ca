# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Settings: site.yaml, training, networks and results.json."""
