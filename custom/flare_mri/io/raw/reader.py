# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The reader of raw scans: k-space of all coils for reconstruction, and as an image their magnitudes."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from flare_mri.errors import InputError
from flare_mri.io.raw.named import contrast_of
from flare_mri.io.raw.read import read_raw
from flare_mri.io.raw.scan import RawScan
from flare_mri.io.scan import Geometry, Scan, ScanReader


class RawReader(ScanReader):
    """Reads one raw scan of whatever format, told by what is in the file (:func:`flare_mri.io.raw.read.read_raw`).

    Attributes:
        simulated: whether no scanner measured the k-space.
    """

    simulated: ClassVar[bool] = False

    def identity(self) -> list[Any]:
        """Beside the files, what tells a scan from others; for JSON."""
        return []

    def read_raw(self, files: tuple[Path, ...]) -> RawScan:
        """k-space of all coils, with mask and geometry.

        Raises:
            InputError: as :func:`flare_mri.io.raw.read.read_raw`.
        """
        return read_raw(files[0])

    def find_contrast(self, files: tuple[Path, ...]) -> str | None:
        """What the scan's contrast is called (:func:`flare_mri.io.raw.named.contrast_of`); no sample is read."""
        return None if self.simulated else contrast_of(files[0])

    def geometry(self, files: tuple[Path, ...]) -> Geometry:
        """Size and place of the image; the whole file is read.

        Raises:
            InputError: as :meth:`read_raw`.
        """
        return geometry_of(self.read_raw(files))

    def read(self, data: Any, **kwargs: Any) -> tuple[np.ndarray, Geometry]:
        """Magnitudes float32 [H, W, S] of a fully sampled scan, root of the sum of squares over its coils.

        Raises:
            InputError: as :meth:`read_raw`, or the scan is undersampled.
        """
        scan = self.read_raw(data)
        if scan.target is None:
            raise InputError(
                f"{data[0]}: expected a fully sampled scan, got one of acceleration {scan.acceleration:.1f}; leave "
                "it out"
            )
        return np.ascontiguousarray(scan.target.transpose(1, 2, 0)), geometry_of(scan)


def raw_reader(scan: Scan) -> RawReader:
    """The reader of a scan of data that :meth:`~flare_mri.config.data.DataSettings.is_raw`."""
    reader = scan.image.reader
    assert isinstance(reader, RawReader)
    return reader


def geometry_of(scan: RawScan) -> Geometry:
    """Where the image [H, W, S] of a raw scan lies."""
    slices, _, height, width = scan.kspace.shape
    shape = (height, width, slices)
    if scan.geometry is not None:
        steps = np.linalg.norm(scan.geometry[:3, :3], axis=0)
        return Geometry(shape, scan.geometry, (float(steps[0]), float(steps[1]), float(steps[2])))
    if scan.field_of_view is None:
        return Geometry(shape)
    down, across, between = scan.field_of_view
    return Geometry(shape, None, (down / height, across / width, between))
