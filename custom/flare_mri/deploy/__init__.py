# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A hospital's policy, the policies of a startup kit and the check of a site."""
