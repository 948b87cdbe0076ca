# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of test-time adaptation at a site outside the federation; one place for every default."""

from typing import Annotated, Literal

from pydantic import Field

from flare_mri.config.base import Settings


class AdaptationSettings(Settings):
    """A model for a site's unlabelled slices from a routing space (IOP-FL, arXiv 2204.08467)."""

    strategy: Literal["matched", "published"] = "matched"
    """matched: the personal models mixed by how their statistics match the site's, without training; published: the
    paper's routers, adapted."""

    epochs: Annotated[int, Field(ge=0)] = 10
    """Passes of the adaptation over an outside site's slices; 0: the routers predict as they begin."""

    lr: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Learning rate of the routers and of BatchNorm's affine parameters."""

    batch_size: Annotated[int, Field(ge=1)] = 8
    """Slices in a batch; the statistics of a batch are part of the network."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of noise, turns and dropout."""

    entropy_reduction: Literal["mean", "published"] = "mean"
    """Of the loss: mean over pixels, or the published code's, batch_size / 2 times that."""
