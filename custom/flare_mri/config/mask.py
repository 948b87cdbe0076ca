# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The section `mask` of site.yaml: how a site samples k-space."""

from typing import Literal

from pydantic import Field, model_validator

from flare_mri.config.base import Settings
from flare_mri.config.data import ExpandedPath


class MaskSettings(Settings):
    """A site's sampling of k-space."""

    kind: Literal["equispaced", "random", "radial", "gaussian", "file"] = "equispaced"
    """equispaced or random columns, golden-angle radial spokes, gaussian random points, or a file"""
    acceleration: float = Field(4.0, ge=1)
    """all points of k-space / sampled points, the sampled centre among them: 2.4 where a scanner calls it R = 3"""
    centre_fraction: float = Field(0.08, ge=0, le=1)
    """part of the columns (2D kinds: of height and width) that is fully sampled in the middle"""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """the same seed gives the same mask"""
    redraw: bool = False
    """in training, another mask of this kind for every slice and step; validation and test keep the one of `seed`"""
    path: ExpandedPath | None = None
    """of kind file: .npy, .npz or .mat, which stands for all of the above"""

    @model_validator(mode="after")
    def _check_file(self) -> "MaskSettings":
        given = self.model_fields_set
        if self.kind == "file" and self.path is None:
            raise ValueError("path: expected a path, got nothing; add this key")
        drawn = {"acceleration", "centre_fraction", "seed", "redraw"}
        wrong = drawn & given if self.kind == "file" else {"path"} & given
        if wrong:
            raise ValueError(f"{min(wrong)}: expected none of kind {self.kind}, got an unknown key; remove it")
        return self
