# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The program ``flare-mri``: all commands of hospitals and leads in one place."""
