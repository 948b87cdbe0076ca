# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Facts of every scan of a site, read one at a time: size, place, intensities, organs, and a slice to look at."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from flare_mri.config.data import DataSettings
from flare_mri.config.segmentation import ORGAN
from flare_mri.config.statistics import INTENSITY_BINS, INTENSITY_RANGE
from flare_mri.datasets.pictures import Picture, take_picture
from flare_mri.errors import InputError
from flare_mri.io.load import load_scan_file
from flare_mri.io.raw.named import contrast_of
from flare_mri.io.raw.reader import RawReader, geometry_of
from flare_mri.io.scan import Geometry, Scan
from flare_mri.physics.classical import root_sum_of_squares
from flare_mri.progress import with_progress
from flare_mri.transforms.volume import IMAGE, LABEL, label_check


@dataclass(frozen=True)
class OrganFacts:
    """One organ in one label: on how many slices it is, its voxels, and its millilitres where voxels have a size."""

    slices: int
    voxels: int
    ml: float | None


@dataclass(frozen=True)
class ScanFacts:
    """Facts of one scan.

    Attributes:
        scan: what was read.
        shape: voxels along the stored axes.
        spacing: mm along them; None where the file does not say.
        codes: axis codes of the stored axes such as RAS; empty where the file does not say.
        intensities: lowest value, median, 99th percentile and highest.
        shares: of the voxels in bins of their value over the 99th percentile, float64 that sum to 1; None where that
            percentile is not above 0.
        mean: of all values.
        geometry: of the image as it is stored.
        coils: of raw k-space; 0 for images.
        acceleration: with which raw k-space was measured; 1: fully sampled, and of images.
        contrast: as an ISMRMRD or fastMRI file calls it; empty where the file does not say.
        organs: by name, of the label; none where there is no label that can be used.
        digest: hex SHA-256 of the image's values and shape, the same for whatever file holds them.
        label_digest: the same of the label; empty where it marks nothing.
        picture: a slice to look at; None where none was asked for.
        problems: what is wrong with the label, a line each.
    """

    scan: Scan
    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    codes: str
    intensities: tuple[float, float, float, float]
    shares: np.ndarray | None
    mean: float
    geometry: Geometry
    coils: int = 0
    acceleration: float = 1.0
    contrast: str = ""
    organs: Mapping[str, OrganFacts] | None = None
    digest: str = ""
    label_digest: str = ""
    picture: Picture | None = None
    problems: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        organs = {name: vars(organ) for name, organ in (self.organs or {}).items()}
        lowest, median, high, highest = self.intensities
        return {
            "name": self.scan.name,
            "files": [str(path) for path in self.scan.files],
            "subject": self.scan.subject,
            "shape": list(self.shape),
            "spacing": None if self.spacing is None else list(self.spacing),
            "orientation": self.codes,
            "intensities": {"lowest": lowest, "median": median, "99 %": high, "highest": highest},
            **({"coils": self.coils, "acceleration": self.acceleration} if self.coils else {}),
            **({"contrast": self.contrast} if self.contrast else {}),
            "organs": organs,
        }


def look_at_scan(scan: Scan, data: DataSettings, picture: bool) -> ScanFacts:
    """Reads a scan and its label.

    Args:
        scan: of the site.
        data: settings of the site.
        picture: whether to take a slice to look at.

    Raises:
        InputError: the image cannot be read, or is not finite; what is wrong with the label stands in the facts.
    """
    reader, coils, acceleration = scan.image.reader, 0, 1.0
    if isinstance(reader, RawReader):
        raw = reader.read_raw(scan.files)
        coils, acceleration = raw.kspace.shape[1], 1.0 if raw.target is not None else raw.acceleration
        slices = raw.target if raw.target is not None else root_sum_of_squares(torch.from_numpy(raw.kspace))[:, 0]
        geometry, image = geometry_of(raw), _place(np.moveaxis(np.asarray(slices), 0, -1), geometry_of(raw), scan)
    else:
        geometry, image = scan.image.geometry(), load_scan_file(scan.image)
    values = image.numpy()
    if not np.isfinite(values).all():
        number = int((~np.isfinite(values)).sum())
        raise InputError(f"{scan.origin}: expected finite values, got {number} NaN or infinite; export it again")
    label, problems = _read_label(scan, image, data)
    return ScanFacts(
        scan=scan,
        shape=geometry.shape,
        spacing=find_mm(geometry),
        codes=geometry.axcodes,
        intensities=(intensities := _intensities(values)),
        shares=_shares(values, intensities[2]),
        mean=float(values.mean(dtype=np.float64)),
        geometry=geometry,
        coils=coils,
        acceleration=acceleration,
        contrast=find_contrast(scan),
        organs=None if label is None else _organs(label.numpy(), data, geometry),
        digest=digest(values),
        label_digest="" if label is None or not label.any() else digest(label.numpy()),
        picture=take_picture(image, label, data) if picture else None,
        problems=tuple(problems),
    )


def _place(voxels: np.ndarray, geometry: Geometry, scan: Scan) -> MetaTensor:
    """Magnitudes [H, W, S] of a raw scan as a reader of images gives them."""
    meta = {"affine": geometry.matrix, "affine_known": geometry.affine is not None, "origin": scan.origin}
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(voxels, np.float32)), meta=meta)


def find_contrast(scan: Scan) -> str:
    """What an ISMRMRD or fastMRI file calls its contrast; empty where it does not say, of other files, and of none."""
    return (contrast_of(scan.files[0]) or "") if scan.files else ""


def find_mm(geometry: Geometry) -> tuple[float, ...] | None:
    """mm between voxels; None where the file does not say."""
    if geometry.affine is None and geometry.spacing == (1.0, 1.0, 1.0):
        return None
    return tuple(round(float(step), 4) for step in np.linalg.norm(geometry.matrix[:3, :3], axis=0))


def turn(geometry: Geometry, orientation: str | None) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Numbers of voxels and mm between them along the axes, after a scan was turned to axis codes; None: as stored."""
    steps = np.linalg.norm(geometry.matrix[:3, :3], axis=0)
    if orientation is None:
        return geometry.shape, tuple(steps.tolist())
    moved = ornt_transform(io_orientation(geometry.matrix), axcodes2ornt(tuple(orientation)))[:, 0].astype(int)
    shape, spacing = np.empty(3, int), np.empty(3)
    shape[moved], spacing[moved] = geometry.shape, steps
    return tuple(shape.tolist()), tuple(spacing.tolist())


def digest(values: np.ndarray) -> str:
    """Hex SHA-256 of values and their shape."""
    content = np.ascontiguousarray(values, np.float32)
    return hashlib.sha256(repr(content.shape).encode() + content.tobytes()).hexdigest()


def _intensities(values: np.ndarray) -> tuple[float, float, float, float]:
    median, high = np.percentile(values, (50, 99))
    return float(values.min()), float(median), float(high), float(values.max())


def _shares(values: np.ndarray, bright: float) -> np.ndarray | None:
    """The histogram of values over `bright`; those beyond its ends count in the bins there."""
    if bright <= 0:
        return None
    counts, _ = np.histogram(np.clip(values / bright, *INTENSITY_RANGE), INTENSITY_BINS, INTENSITY_RANGE)
    return counts / values.size


def _read_label(scan: Scan, image: MetaTensor, data: DataSettings) -> tuple[MetaTensor | None, list[str]]:
    """The numbers of the organs [I, J, K], None where they cannot be told, and what is wrong."""
    if scan.label is None:
        return None, []
    try:
        return label_check(data)({IMAGE: image, LABEL: load_scan_file(scan.label)})[LABEL], []
    except InputError as error:
        return None, [str(error)]


def _organs(label: np.ndarray, data: DataSettings, geometry: Geometry) -> dict[str, OrganFacts]:
    """Of each organ that a label marks; slices are counted along the axis that is the settings' after turning."""
    ml = None if find_mm(geometry) is None else abs(float(np.linalg.det(geometry.matrix[:3, :3]))) / 1000
    found = {}
    for number, name in enumerate(data.find_labels() or (ORGAN,), 1):
        marked = label == number
        voxels = int(marked.sum())
        others = tuple(axis for axis in range(3) if axis != slice_axis(geometry, data))
        slices = int(marked.any(axis=others).sum())
        found[name] = OrganFacts(slices, voxels, None if ml is None else round(ml * voxels, 3))
    return found


def slice_axis(geometry: Geometry, data: DataSettings) -> int:
    """The stored axis that is the axis of the slices after a scan was turned."""
    axis = data.find_slice_axis()
    codes = geometry.axcodes
    if data.orientation is None or not codes:
        return axis
    pairs = ("RL", "AP", "SI")
    wanted = next(pair for pair in pairs if data.orientation[axis] in pair)
    return next(at for at, code in enumerate(codes) if code in wanted)


def look_at_all(
    scans: list[Scan], data: DataSettings, pictures: bool
) -> Iterator[tuple[Scan, ScanFacts | None, list[str]]]:
    """Every scan with its facts, None where it cannot be read, and its problems, a line each."""
    for scan in with_progress(scans, "looking at"):
        try:
            facts = look_at_scan(scan, data, pictures)
        except InputError as error:
            yield scan, None, [str(error)]
            continue
        yield scan, facts, list(facts.problems)
