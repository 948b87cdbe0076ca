# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Local training at a site, in plain PyTorch."""

from flare_mri.config.training import TrainingSettings
from flare_mri.training.build import RECONSTRUCTION, SEGMENTATION, build_task
from flare_mri.training.learner import Learner, RoundReport
from flare_mri.training.run_states import RunStates, check_round, check_run
from flare_mri.training.segmentation import SegmentationTask
from flare_mri.training.site_store import SiteStore
from flare_mri.training.task import SPLITS, AbortedError, Split, Task

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
    "check_round",
    "check_run",
]
