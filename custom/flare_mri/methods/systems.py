# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The two systems: what a job of each learns, and with which settings unless it says otherwise."""

from dataclasses import dataclass
from typing import Any

from flare_mri.config.network import UNROLLED
from flare_mri.config.tasks import RECONSTRUCTION, SEGMENTATION
from flare_mri.config.training import TrainingSettings
from flare_mri.methods import Method, methods_of


@dataclass(frozen=True)
class System:
    """A training job's task, methods and defaults; its recipe and its command line are made from them.

    Attributes:
        name: of the job, unless it gets another.
        task: of the sites.
        network: ``{"path": ..., "args": {...}}``.
        network_flags: arguments of U-Nets that are options of the command line.
        training: settings of every site's training.
        weighting: of the average, ``equal`` or ``slices``.
    """

    name: str
    task: str
    network: dict[str, Any]
    network_flags: tuple[str, ...]
    training: TrainingSettings
    weighting: str

    @property
    def methods(self) -> dict[str, Method]:
        """The methods that serve the task, by name; the first is the default."""
        return methods_of(self.task)


FEDMRI = System(
    name="fedmri",
    task=RECONSTRUCTION,
    network={"path": UNROLLED, "args": {"num_cascades": 4, "regulariser_args": {"channels": 16, "num_pools": 3}}},
    network_flags=("channels", "num_pools", "norm", "decoder"),
    training=TrainingSettings(
        optimizer="adam", lr=2e-3, lr_schedule="cosine", lr_gamma=0.05, loss="l1", augmentation=True
    ),
    weighting="equal",
)
IOPFL = System(
    name="iopfl",
    task=SEGMENTATION,
    network={"path": "flare_mri.networks.unet.UNet", "args": {"norm": "batch", "negative_slope": 0.0}},
    network_flags=("channels", "num_pools", "norm"),
    training=TrainingSettings(
        optimizer="adam",
        lr=1e-3,
        lr_schedule="cosine",
        lr_gamma=0.05,
        loss="dice_ce",
        augmentation=True,
    ),
    weighting="slices",
)
IOPFL_AS_PUBLISHED = ("--no-augmentation", "--loss", "dice", "--lr_schedule", "step", "--lr_step", "0")
"""Options with which a job of IOP-FL trains as the published code does."""
