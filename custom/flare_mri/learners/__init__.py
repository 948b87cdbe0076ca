# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a hospital does in a round, in plain PyTorch."""

from flare_mri.learners.build import RECONSTRUCTION, SEGMENTATION, build_task
from flare_mri.learners.learner import AbortedError, Learner, RoundReport
from flare_mri.learners.run_states import RunStates, check_round, check_run
from flare_mri.learners.segmentation import SegmentationTask
from flare_mri.learners.settings import TrainingSettings
from flare_mri.learners.site_store import SiteStore, check_name
from flare_mri.learners.task import SPLITS, Split, Task

__all__ = [
    "RECONSTRUCTION",
    "SEGMENTATION",
    "SPLITS",
    "SegmentationTask",
    "AbortedError",
    "Learner",
    "RoundReport",
    "RunStates",
    "SiteStore",
    "Split",
    "Task",
    "TrainingSettings",
    "build_task",
    "check_name",
    "check_round",
    "check_run",
]
