# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scans that are there but not read yet, and the base of the readers that read them."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.utils import MetaKeys, SpaceKeys
from nibabel.orientations import aff2axcodes


@dataclass(frozen=True)
class Geometry:
    """Place of a file's voxels in the patient.

    Attributes:
        shape: numbers of voxels along the stored axes, three.
        affine: float64 [4, 4], from voxel indices to mm, RAS; None where the format does not say.
        spacing: mm between voxels along the stored axes; 1 where the format does not say.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray | None = None
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def matrix(self) -> np.ndarray:
        """The affine, or where it is unknown the spacing on its diagonal."""
        return np.diag((*self.spacing, 1.0)) if self.affine is None else self.affine

    @property
    def axcodes(self) -> str:
        """Axis codes such as RAS of the stored axes; empty where the format does not say."""
        return "" if self.affine is None else "".join(map(str, aff2axcodes(self.affine)))


def is_usable_affine(affine: np.ndarray) -> bool:
    """Whether an affine [4, 4] leads from voxels to places in mm and back.

    Steps between voxels are 0.1 um to 10 m, the axes do not lie in one plane, and the volume is within 1 km of the
    scanner's centre: what lies beyond comes from a damaged header, and its inverse would overflow.
    """
    if not np.isfinite(affine).all() or np.abs(affine).max() > 1e6:
        return False
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if steps.min() < 1e-4 or steps.max() > 1e4:
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / steps)) > 1e-3)


class ScanReader(ImageReader):
    """Base of the readers: bounded, checked, and told by the format which files to read, never by a suffix.

    A reader is called by :class:`~flare_mri.io.load.LoadScand` alone; MONAI's own ``LoadImaged`` would silently try
    every other reader where one of ours refuses a file.
    """

    def verify_suffix(self, filename: Any) -> bool:
        """Always False: MONAI is not to choose this reader by a file's name."""
        return False

    @abstractmethod
    def geometry(self, files: tuple[Path, ...]) -> Geometry:
        """Shape and place of the voxels, from headers alone where the format has them.

        Raises:
            InputError: a header that cannot be used; one line with file, what was expected, what came and the fix.
        """

    @abstractmethod
    def read(self, data: Any, **kwargs: Any) -> tuple[np.ndarray, Geometry]:
        """The voxels of files (a tuple of paths), real [I, J, K] in the stored order of axes, and where they lie.

        Raises:
            InputError: as :meth:`geometry`, and for values that cannot be read.
        """

    def get_data(self, img: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Voxels and metadata, as MONAI's readers give them, of an image and its :class:`Geometry`."""
        voxels, geometry = img
        return voxels, {
            MetaKeys.AFFINE: geometry.matrix,
            MetaKeys.ORIGINAL_AFFINE: geometry.matrix,
            MetaKeys.SPATIAL_SHAPE: np.array(voxels.shape),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
            "affine_known": geometry.affine is not None,
        }


@dataclass(frozen=True)
class ScanFile:
    """An image or a label, not read yet.

    Attributes:
        files: what it is read from; none for a phantom.
        reader: reads them.
        name: the scan's, for messages of what lies in no file.
    """

    files: tuple[Path, ...]
    reader: ScanReader
    name: str = ""

    @property
    def origin(self) -> str:
        """The name of it in messages."""
        return str(self.files[0]) if self.files else self.name

    def geometry(self) -> Geometry:
        """Shape and place of its voxels, see :meth:`ScanReader.geometry`."""
        return self.reader.geometry(self.files)


@dataclass(frozen=True)
class Scan:
    """One volume and, where there is one, its label.

    Attributes:
        name: unique within the site.
        subject: volumes of one subject are never divided between training and test by a split by volume.
        image: the image.
        label: its label; None where there is none.
        section: `train`, `validation` or `test` where the site's own list says so, else empty.
    """

    name: str
    subject: str
    image: ScanFile
    label: ScanFile | None = None
    section: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it is read from; a change of any of them makes a cached copy stale."""
        return self.image.files + (self.label.files if self.label else ())

    @property
    def origin(self) -> str:
        """The name of it in messages."""
        return self.image.origin

    def item(self) -> dict[str, ScanFile]:
        """The scan as :class:`~flare_mri.io.load.LoadScand` takes it."""
        return {"image": self.image, **({"label": self.label} if self.label else {})}
