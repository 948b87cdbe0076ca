# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI and the baselines it is judged against, as one FLARE recipe."""

from flare_mri.flare.recipes.training import TrainingRecipe
from flare_mri.methods.systems import FEDMRI


class FedMRIRecipe(TrainingRecipe):
    """Personalised MR image reconstruction: shared encoder, private decoders, weighted contrastive regularisation.

    Feng et al., "Specificity-Preserving Federated Learning for MR Image Reconstruction", IEEE TMI 2022,
    arXiv 2112.05752. The default network is unrolled between steps of data consistency; the paper's is the U-Net
    ``flare_mri.networks.unet.UNet``. Arguments are those of :class:`~flare_mri.flare.recipes.training.TrainingRecipe`.
    """

    system = FEDMRI
