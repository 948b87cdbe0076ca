# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A hospital's model as a MONAI bundle: weights, metadata and a configuration that MONAI alone can run."""

from flare_mri.bundle.export import export_bundle
from flare_mri.bundle.plan import BundlePlan

__all__ = ["BundlePlan", "export_bundle"]
