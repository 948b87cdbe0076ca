# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The inside of IOP-FL and its baselines, as one FLARE recipe."""

from flare_mri.flare.recipes.training import TrainingRecipe
from flare_mri.methods import methods_of
from flare_mri.training import SEGMENTATION, TrainingSettings


class IOPFLRecipe(TrainingRecipe):
    """Segmentation with a personal trajectory at every site; ends in a routing space for sites outside.

    Jiang et al., "IOP-FL: Inside-Outside Personalization for Federated Medical Image Segmentation", IEEE TMI 2023,
    arXiv 2204.08467. Arguments are those of :class:`~flare_mri.flare.recipes.training.TrainingRecipe`.
    """

    job_name = "iopfl"
    site_task = SEGMENTATION
    methods = methods_of(SEGMENTATION)
    default_network = {
        "path": "flare_mri.networks.unet.UNet",
        "args": {"norm": "batch", "negative_slope": 0.0},
    }
    default_training = TrainingSettings(optimizer="adam", lr=1e-3, lr_step=0, test_each_round=True)
    default_weighting = "slices"
