# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI and the baselines it is judged against, as one FLARE recipe."""

from flare_mri.learners import RECONSTRUCTION, TrainingSettings
from flare_mri.recipes.training import Method, TrainingRecipe

_PLAIN = {"contrastive_weight": 0.0}


class FedMRIRecipe(TrainingRecipe):
    """Personalised MR image reconstruction: shared encoder, private decoders, weighted contrastive regularisation.

    Feng et al., "Specificity-Preserving Federated Learning for MR Image Reconstruction", IEEE TMI 2022,
    arXiv 2112.05752. Arguments are those of :class:`~flare_mri.recipes.training.TrainingRecipe`.
    """

    job_name = "fedmri"
    site_task = RECONSTRUCTION
    methods = {
        "FedMRI": Method("encoder"),
        "encoder-sharing": Method("encoder", _PLAIN),
        "FedAvg": Method("all", _PLAIN),
        "FedProx": Method("all", _PLAIN),
        "FedBN": Method("all_but_norm", _PLAIN),
        "all-but-last": Method("all_but_last", _PLAIN),
        "local-only": Method("none", _PLAIN),
        "centralised": Method("all", _PLAIN),
    }
    default_network = {"path": "flare_mri.networks.unet.UNet", "args": {}}
    default_training = TrainingSettings()
    default_weighting = "equal"
