# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI and the baselines it is judged against, as one FLARE recipe."""

from flare_mri.flare.recipes.training import TrainingRecipe
from flare_mri.methods import methods_of
from flare_mri.training import RECONSTRUCTION, TrainingSettings


class FedMRIRecipe(TrainingRecipe):
    """Personalised MR image reconstruction: shared encoder, private decoders, weighted contrastive regularisation.

    Feng et al., "Specificity-Preserving Federated Learning for MR Image Reconstruction", IEEE TMI 2022,
    arXiv 2112.05752. Arguments are those of :class:`~flare_mri.flare.recipes.training.TrainingRecipe`.
    """

    job_name = "fedmri"
    site_task = RECONSTRUCTION
    methods = methods_of(RECONSTRUCTION)
    default_network = {"path": "flare_mri.networks.unet.UNet", "args": {}}
    default_training = TrainingSettings(augmentation=True)
    default_weighting = "equal"
