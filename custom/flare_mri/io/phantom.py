# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `phantom`: simulated heads for reconstruction, male pelves with the prostate outlined for segmentation."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from flare_mri.config.data import DataSettings, SpatialSize
from flare_mri.datasets.phantom import DEFAULT_MATRIX, DEFAULT_SUBJECTS, SLICES, make_phantom
from flare_mri.datasets.phantom_pelvis import make_pelvis, pelvis_geometry
from flare_mri.io.format import RECONSTRUCTION, SEGMENTATION, Format
from flare_mri.io.scan import Geometry, Scan, ScanFile, ScanReader


class PhantomSettings(DataSettings):
    """Settings of format `phantom`."""

    spatial_size: SpatialSize = DEFAULT_MATRIX
    """[height, width] of the slices"""
    subjects: int = Field(DEFAULT_SUBJECTS, ge=1, le=10_000)
    """number of subjects"""


@dataclass(frozen=True)
class PhantomReader(ScanReader):
    """Makes the images of one subject, [H, W, S].

    Attributes:
        site: name of the site, which picks the protocol.
        subject: number of the subject, from 0.
        spatial_size: (H, W).
        part: `head`, or `slices` or `labels` of a pelvis.
    """

    site: str
    subject: int
    spatial_size: tuple[int, int]
    part: str

    def geometry(self, files: tuple[Path, ...]) -> Geometry:
        """Size of the volume, and for a pelvis the mm between its voxels."""
        height, width = self.spatial_size
        if self.part == "head":
            return Geometry((height, width, SLICES))
        (slices, _, _), (between, rows, columns) = pelvis_geometry(self.spatial_size)
        return Geometry((height, width, slices), None, (rows, columns, between))

    def read(self, data: Any, **kwargs: Any) -> tuple[np.ndarray, Geometry]:
        """The simulated volume."""
        if self.part == "head":
            volume = make_phantom(self.site, self.subject, self.spatial_size).slices
        else:
            volume = getattr(_make_pelvis(self.site, self.subject, self.spatial_size), self.part)
        return np.moveaxis(volume, 0, -1), self.geometry(())


_make_pelvis = lru_cache(maxsize=1)(make_pelvis)  # image and label are asked for one after the other


def find_phantom(settings: PhantomSettings, site: str, task: str) -> list[Scan]:
    """The subjects of a site, for a task."""
    scans = []
    for subject in range(settings.subjects):
        name = f"subject-{subject:02d}"
        parts = ("slices", "labels") if task == SEGMENTATION else ("head",)
        files = [ScanFile((), PhantomReader(site, subject, settings.spatial_size, part), name) for part in parts]
        scans.append(Scan(name, name, files[0], files[1] if len(files) > 1 else None))
    return scans


PHANTOM = Format("phantom", (RECONSTRUCTION, SEGMENTATION), PhantomSettings, find_phantom, lambda folder: False, None)
