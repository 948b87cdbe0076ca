# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Format `phantom`: simulated heads for reconstruction, male pelves with the prostate outlined for segmentation."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from flare_mri.config.data import DataSettings, SpatialSize
from flare_mri.datasets.phantom import DEFAULT_MATRIX, DEFAULT_SUBJECTS, PHANTOM_VERSION, make_phantom
from flare_mri.datasets.phantom_kspace import DEFAULT_COILS
from flare_mri.datasets.phantom_pelvis import make_pelvis, pelvis_geometry
from flare_mri.io.format import RECONSTRUCTION, SEGMENTATION, Format
from flare_mri.io.raw.build import build_scan
from flare_mri.io.raw.format import Sensitivities
from flare_mri.io.raw.reader import RawReader
from flare_mri.io.raw.scan import RawScan
from flare_mri.io.scan import Geometry, Scan, ScanFile, ScanReader


class PhantomSettings(DataSettings):
    """Settings of format `phantom`."""

    spatial_size: SpatialSize = DEFAULT_MATRIX
    """[height, width] of the slices"""
    subjects: int = Field(DEFAULT_SUBJECTS, ge=1, le=10_000)
    """number of subjects"""
    coils: int = Field(DEFAULT_COILS, ge=1, le=64)
    """for reconstruction: number of coils"""
    sensitivities: Sensitivities = "low_pass"
    """how coil sensitivities are found from the sampled centre: espirit needs the extra `raw`"""

    def is_raw(self) -> bool:
        return True


@dataclass(frozen=True)
class HeadReader(RawReader):
    """Scans the head of one subject with several coils.

    Attributes:
        site: name of the site, which picks the protocol.
        subject: number of the subject, from 0.
        spatial_size: (H, W).
        coils: that receive.
    """

    site: str
    subject: int
    spatial_size: tuple[int, int]
    coils: int
    simulated: ClassVar[bool] = True

    def identity(self) -> list[Any]:
        """What tells a subject from others, for the cache."""
        return [PHANTOM_VERSION, self.site, self.subject, self.spatial_size, self.coils]

    def read_raw(self, files: tuple[Path, ...]) -> RawScan:
        """The fully sampled simulated scan; the phantom lies nowhere."""
        kspace = make_phantom(self.site, self.subject, self.spatial_size, self.coils).kspace
        return build_scan(Path(f"subject-{self.subject:02d}"), kspace, np.ones(kspace[:, 0].shape, bool))


@dataclass(frozen=True)
class PelvisReader(ScanReader):
    """Makes the images or the labels of one subject, [H, W, S].

    Attributes:
        site: name of the site, which picks the protocol.
        subject: number of the subject, from 0.
        spatial_size: (H, W).
        part: `slices` or `labels`.
    """

    site: str
    subject: int
    spatial_size: tuple[int, int]
    part: str

    def geometry(self, files: tuple[Path, ...]) -> Geometry:
        """Size of the volume and mm between its voxels."""
        (slices, height, width), (between, rows, columns) = pelvis_geometry(self.spatial_size)
        return Geometry((height, width, slices), None, (rows, columns, between))

    def read(self, data: Any, **kwargs: Any) -> tuple[np.ndarray, Geometry]:
        """The simulated volume."""
        volume = getattr(_make_pelvis(self.site, self.subject, self.spatial_size), self.part)
        return np.moveaxis(volume, 0, -1), self.geometry(())


_make_pelvis = lru_cache(maxsize=1)(make_pelvis)  # image and label are asked for one after the other


def find_phantom(settings: PhantomSettings, site: str, task: str) -> list[Scan]:
    """The subjects of a site, for a task."""
    scans = []
    for subject in range(settings.subjects):
        name = f"subject-{subject:02d}"
        if task == SEGMENTATION:
            readers: tuple[ScanReader, ...] = tuple(
                PelvisReader(site, subject, settings.spatial_size, part) for part in ("slices", "labels")
            )
        else:
            readers = (HeadReader(site, subject, settings.spatial_size, settings.coils),)
        files = [ScanFile((), reader, name) for reader in readers]
        scans.append(Scan(name, name, files[0], files[1] if len(files) > 1 else None))
    return scans


PHANTOM = Format("phantom", (RECONSTRUCTION, SEGMENTATION), PhantomSettings, find_phantom, lambda folder: False, None)
