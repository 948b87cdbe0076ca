# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI and the baselines it is judged against, as one FLARE recipe."""

from flare_mri.flare.recipes.training import TrainingRecipe
from flare_mri.methods import methods_of
from flare_mri.networks.admitted import UNROLLED
from flare_mri.training import RECONSTRUCTION, TrainingSettings


class FedMRIRecipe(TrainingRecipe):
    """Personalised MR image reconstruction: shared encoder, private decoders, weighted contrastive regularisation.

    Feng et al., "Specificity-Preserving Federated Learning for MR Image Reconstruction", IEEE TMI 2022,
    arXiv 2112.05752. The default network is unrolled between steps of data consistency; the paper's is the U-Net
    ``flare_mri.networks.unet.UNet``. Arguments are those of :class:`~flare_mri.flare.recipes.training.TrainingRecipe`.
    """

    job_name = "fedmri"
    site_task = RECONSTRUCTION
    methods = methods_of(RECONSTRUCTION)
    default_network = {
        "path": UNROLLED,
        "args": {"num_cascades": 4, "regulariser_args": {"channels": 16, "num_pools": 3}},
    }
    network_flags = ("channels", "num_pools", "norm", "decoder")
    default_training = TrainingSettings(
        optimizer="adam", lr=1e-3, lr_schedule="cosine", lr_gamma=0.05, loss="l1", augmentation=True
    )
    default_weighting = "equal"
