# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The inside of IOP-FL and its baselines, as one FLARE recipe."""

from flare_mri.flare.recipes.training import TrainingRecipe
from flare_mri.methods.systems import IOPFL


class IOPFLRecipe(TrainingRecipe):
    """Segmentation with a personal trajectory at every site; ends in a routing space for sites outside.

    Jiang et al., "IOP-FL: Inside-Outside Personalization for Federated Medical Image Segmentation", IEEE TMI 2023,
    arXiv 2204.08467. Arguments are those of :class:`~flare_mri.flare.recipes.training.TrainingRecipe`.
    """

    system = IOPFL
