# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site's training in several processes of its machine, a GPU each."""

from flare_mri.parallel.local_job import PLAIN, Computing, LocalJob
from flare_mri.parallel.processes import TrainingProcesses

__all__ = ["PLAIN", "Computing", "LocalJob", "TrainingProcesses"]
