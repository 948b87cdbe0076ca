# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
from data_files import *  # noqa: F403
