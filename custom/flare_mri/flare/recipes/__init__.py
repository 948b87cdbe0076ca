# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE recipes, the source of the job folders in ``jobs/``."""

from flare_mri.flare.recipes.fedmri import FedMRIRecipe
from flare_mri.flare.recipes.iopfl import IOPFLRecipe
from flare_mri.flare.recipes.iopfl_outside import IOPFLOutsideRecipe
from flare_mri.flare.recipes.site_statistics import SiteStatisticsRecipe

__all__ = ["FedMRIRecipe", "IOPFLOutsideRecipe", "IOPFLRecipe", "SiteStatisticsRecipe"]
