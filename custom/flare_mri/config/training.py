# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of training at every site of a job; one place for every default."""

import hashlib
import math
from typing import Annotated, Literal

from pydantic import Field

from flare_mri.config.privacy import PrivateTraining
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.errors import InputError

OPTIMIZERS = ("rmsprop", "adam", "sgd")

OTHERS = {
    "reconstruction": frozenset({"organs", "patch_size"}),
    "segmentation": frozenset({"classical"}),
}
"""Settings that a task does not have."""

LOSSES = {"reconstruction": ("mse", "l1", "l1_ssim", "ssdu"), "segmentation": ("dice", "dice_ce")}
"""Of each task, its own first."""


class TrainingSettings(PrivateTraining, SegmentationPlan):
    """Training at every site of a job, whatever the method."""

    # RMSprop and Adam divide by the gradient down to ε = 1e-8: a loss scaled below it, and a rate scaled up as much,
    # would make plain gradients of what they send, from which images can be rebuilt. So lr and task_loss_weight have
    # bounds, which hold at the site whatever a job says.

    optimizer: Literal["rmsprop", "adam", "sgd"] = "rmsprop"
    """rmsprop (FedMRI), adam (IOP-FL, with amsgrad) or sgd; its state lasts over rounds."""

    lr: Annotated[float, Field(gt=0, le=1)] = 3e-4
    """Learning rate."""

    lr_schedule: Literal["step", "cosine"] = "step"
    """step: times lr_gamma every lr_step rounds; cosine: from lr to lr_gamma times it over lr_rounds."""

    lr_rounds: Annotated[int, Field(ge=0)] = 0
    """Rounds over which a cosine falls; 0: all rounds of the job, stretched where it is resumed for more."""

    lr_step: Annotated[int, Field(ge=0)] = 20
    """Rounds of the job after which the learning rate falls by lr_gamma in steps; 0 keeps it constant."""

    lr_gamma: Annotated[float, Field(gt=0, le=1e3)] = 0.1
    """That factor."""

    local_epochs: Annotated[int, Field(ge=1)] = 1
    """Epochs over the site's training slices in a round."""

    loss: Literal["mse", "l1", "l1_ssim", "ssdu", "dice", "dice_ce"] | None = None
    """Of reconstructed slices: mse (FedMRI), l1, l1_ssim, which is l1 and 1 - SSIM, or ssdu, which learns from the
    undersampled k-space alone; of segmentation: dice (IOP-FL) or dice_ce, with cross-entropy too; none: mse, dice."""

    max_grad_norm: Annotated[float, Field(ge=0)] = 0.0
    """Norm to which a step's gradients are scaled down; 0: as they are."""

    weight_average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay a step of a moving average of a site's weights, which is then its personal model; 0: none."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Of training on a GPU: bfloat16 is mixed precision; a CPU computes in float32."""

    task_loss_weight: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.0
    """λ of FedMRI, the weight of the task's own loss."""

    augmentation: bool = False
    """Train on randomly transformed slices: the task's transforms, unless a site says otherwise in site.yaml."""

    evaluate_every: Annotated[int, Field(ge=1)] = 1
    """Rounds between validations; the last model is always evaluated."""

    test_each_round: bool = False
    """Evaluate the test split too whenever the validation split is, for curves."""

    classical: bool = False
    """Score CG-SENSE and l1-ESPIRiT on the test slices too, once; about half a second a slice. Needs SigPy."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the initial weights and of every site's shuffling."""

    def lr_of_round(self, round_number: int) -> float:
        """The learning rate of a round of the job, the same at a site that joins in it as at one that was always there.

        Steps by repeated products, as ``StepLR`` makes them: a power differs from them in the last bits.

        Raises:
            InputError: a cosine over no rounds.
        """
        if self.lr_schedule == "cosine":
            if not self.lr_rounds:
                raise InputError(
                    "training: lr_rounds: expected the rounds of a cosine, got 0; the recipe fills them in"
                )
            part = min(round_number / self.lr_rounds, 1.0)
            return self.lr * (self.lr_gamma + (1 - self.lr_gamma) * (1 + math.cos(math.pi * part)) / 2)
        lr = self.lr
        for _ in range(round_number // self.lr_step if self.lr_step else 0):
            lr *= self.lr_gamma
        return lr

    def seed_of_round(self, site: str, round_number: int) -> int:
        """The seed of a site's round, equal in every process (Python's own hash is salted)."""
        return int.from_bytes(hashlib.sha256(repr((self.seed, site, round_number)).encode()).digest()[:7], "big")
