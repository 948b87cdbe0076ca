# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site's volumes, whatever their format: found, read, checked, brought to the network's slices and cached."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Compose
from nibabel.orientations import aff2axcodes

from flare_mri.config.data import DataSettings
from flare_mri.config.segmentation import IGNORED
from flare_mri.config.site import SiteConfig
from flare_mri.datasets.cache import CachedVolume, cache_key, open_cache
from flare_mri.datasets.phantom_pelvis import PELVIS_VERSION
from flare_mri.datasets.pictures import SlicePlace
from flare_mri.errors import InputError
from flare_mri.files import MOST_VOXELS, check_matrix
from flare_mri.io.formats import FORMATS, SEGMENTATION, check_task
from flare_mri.io.scan import Scan
from flare_mri.progress import with_progress
from flare_mri.transforms.volume import IMAGE, LABEL, reconstruction_volume, run_pipeline, segmentation_volume

CACHE_VERSION = 3  # raise it when readers or pipelines give other numbers for the same files

_UNCACHED = {"root", "datalist", "include", "subjects", "augmentation", "colours"}  # settings that change no volume
_KNOWN, _UNKNOWN = 1.0, 0.0


@dataclass(frozen=True)
class Volume:
    """One volume.

    Attributes:
        name, subject, section: as of :class:`~flare_mri.io.scan.Scan`.
        labelled: whether it has a label.
        slices: gives float32 slices when asked for, from the cache: magnitudes [H, W] for reconstruction, else the
            z-scored image [1, H, W], or image and label [2, H, W], see
            :func:`flare_mri.transforms.volume.segmentation_volume`.
        kept: numbers of these slices in the scan, after it was turned.
        marked: which of them hold an organ; none where there is no label.
        spacing: mm between slices, rows and columns.
        orientation: axis codes of the scan as the network sees it, before slices are taken; empty where not known.
        digest: hex SHA-256 of the slices.
    """

    name: str
    subject: str
    section: str
    labelled: bool
    slices: CachedVolume
    kept: tuple[int, ...]
    marked: tuple[bool, ...]
    spacing: tuple[float, float, float]
    orientation: str
    digest: str

    def find_place(self, slice_axis: int) -> SlicePlace:
        """How the slices lie, which were taken along an axis of the scan as the network sees it."""
        codes = list(self.orientation)
        if codes:
            codes.append(codes.pop(slice_axis))
        return SlicePlace("".join(codes), self.spacing[1:])


def find_scans(config: SiteConfig, task: str) -> list[Scan]:
    """All scans of a site, in the order of their names or of its list; no voxel is read.

    Raises:
        InputError: data of another task, no scan, or files that do not fit together.
    """
    check_task(config.data.format, task)
    return FORMATS[config.data.format].find(config.data, config.site, task)


def build_pipeline(
    task: str, data: DataSettings, labelled: bool, orientation: str | None = None, slice_axis: int | None = None
) -> Compose:
    """The pipeline of whole volumes of a task, see :mod:`flare_mri.transforms.volume`.

    Args:
        task: of the job.
        data: settings of the site.
        labelled: whether scans have labels.
        orientation: axis codes to turn scans to; None: as `data` says.
        slice_axis: axis of the slices after that; None: as `data` says.
    """
    orientation = data.orientation if orientation is None else orientation
    axis = data.find_slice_axis() if slice_axis is None else slice_axis
    if task == SEGMENTATION:
        return segmentation_volume(data, orientation, axis, labelled)
    return reconstruction_volume(data, orientation, axis)


def open_volumes(config: SiteConfig, task: str) -> list[Volume]:
    """All volumes of a site; each is read from its files only where the cache does not hold it.

    Args:
        config: `data` and `cache` of the site.
        task: of the job.

    Returns:
        The volumes in the order of their scans, all of one height and width.

    Raises:
        InputError: no volume, a bad file, volumes of different sizes, or a cache folder that cannot be used; the line
            names the file or key and the fix.
    """
    data, scans = config.data, find_scans(config, task)
    cache = open_cache(config)
    settings = {**data.model_dump(mode="json", exclude=_UNCACHED), "task": task, "version": CACHE_VERSION}
    if task == SEGMENTATION:
        settings["labels"] = data.find_labels()  # a list may say it
    volumes: list[Volume] = []
    for scan in with_progress(scans, f"{config.site}: reading"):
        made = [config.site, scan.name, data.spatial_size, PELVIS_VERSION]
        label = [scan.name, len(scan.files)] if scan.files else made
        key = cache_key(scan.files, [settings, label])  # looks at the files once
        keys = [cache_key((), [key, part]) for part in ("plan", "slices")]
        preparation = Preparation(scan, data, task)
        plan = cache.load(keys[0], preparation.make_plan)
        slices = cache.open(keys[1], preparation.make_slices)
        volume = _make_volume(scan, plan, slices)
        first = volumes[0] if volumes else volume
        if slices.shape[-2:] != first.slices.shape[-2:]:
            raise InputError(
                f"{scan.origin}: expected slices of {list(first.slices.shape[-2:])} as in {first.name}, "
                f"got {list(slices.shape[-2:])}; set data.spatial_size to bring all volumes to one size"
            )
        volumes.append(volume)
    return volumes


def _make_volume(scan: Scan, plan: np.ndarray, slices: CachedVolume) -> Volume:
    codes = "".join("RLAPSI"[int(code)] for code in plan[4:7]) if plan[3] == _KNOWN else ""
    spacing = (float(plan[0]), float(plan[1]), float(plan[2]))
    kept, marked = plan[7:].reshape(2, -1)
    labelled = scan.label is not None
    return Volume(
        name=scan.name,
        subject=scan.subject,
        section=scan.section,
        labelled=labelled,
        slices=slices,
        kept=tuple(int(number) for number in kept),
        marked=tuple(bool(mark) for mark in marked),
        spacing=spacing,
        orientation=codes,
        digest=slices.digest,
    )


class Preparation:
    """Runs a scan through the pipeline once, for both entries that the cache keeps of it.

    Args:
        scan: not read yet.
        data: settings of the site.
        task: of the job.
    """

    def __init__(self, scan: Scan, data: DataSettings, task: str):
        self.scan, self.data, self.task = scan, data, task
        self._made: tuple[np.ndarray, np.ndarray] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}

    def make_plan(self) -> np.ndarray:
        """In one row: spacing, whether the place is known, axis codes, numbers of the slices kept, marks of those with
        an organ."""
        self._made = self._made or self._make()
        return self._made[0]

    def make_slices(self) -> np.ndarray:
        """float32 [K, H, W], or [K, 1 or 2, H, W] for segmentation; not kept here."""
        made, self._made = self._made or self._make(), None
        return made[1]

    def _make(self) -> tuple[np.ndarray, np.ndarray]:
        labelled = self.scan.label is not None
        axis = self.data.find_slice_axis()
        self._check_size()
        item = run_pipeline(build_pipeline(self.task, self.data, labelled), self.scan.item())
        parts = [take_slices(item[key], axis) for key in (IMAGE, LABEL) if key in item]
        taken = list(self.data.slices.indices(len(parts[0])))
        organ = [labelled and bool((parts[1][number] % IGNORED).any()) for number in range(len(parts[0]))]
        only = labelled and self.data.slices.labelled
        kept = [number for number in taken if organ[number] or not only]
        if not kept:
            what = "a slice with label" if only else "a slice"
            raise InputError(
                f"{self.scan.origin}: expected {what}, got none of {len(taken)}; correct data.slices or leave the case "
                "out"
            )
        slices = np.stack([part[kept] for part in parts], axis=1)
        plan = _encode_plan(item[IMAGE], axis, kept, [organ[number] for number in kept])
        return plan, slices if self.task == SEGMENTATION else slices[:, 0]

    def _check_size(self) -> None:
        """Before memory is taken for what settings make of a scan."""
        geometry, data, origin = self.scan.image.geometry(), self.data, self.scan.origin
        if data.spatial_size is not None:
            check_matrix(origin, max(geometry.shape), data.spatial_size)
        if data.spacing is not None:
            finest = min(data.spacing)
            voxels = math.prod(n * mm / finest + 1 for n, mm in zip(geometry.shape, geometry.spacing, strict=True))
            if voxels > MOST_VOXELS:
                raise InputError(
                    f"{origin}: expected at most {MOST_VOXELS} voxels in one volume, got up to {voxels:.3g} at "
                    f"data.spacing {list(data.spacing)}; set a larger data.spacing or leave it out"
                )


def take_slices(volume: MetaTensor, axis: int) -> np.ndarray:
    """Slices [S, H, W] of a volume [1, I, J, K] along `axis` (without the channel)."""
    return volume.as_tensor()[0].movedim(axis, 0).numpy()


def put_slices(slices: np.ndarray, kept: list[int], like: MetaTensor, axis: int) -> MetaTensor:
    """A volume [1, I, J, K] of the shape of `like`, with slices [K, H, W] where they were, and 0 elsewhere."""
    volume = like.as_tensor().new_zeros(like.shape)
    volume[0].movedim(axis, 0)[kept] = volume.new_tensor(np.asarray(slices, np.float32))
    return MetaTensor(volume)


def find_axcodes(volume: MetaTensor) -> str:
    """Axis codes such as RAS of a volume; empty where it is not known where it lies."""
    return "".join(map(str, aff2axcodes(volume.affine.numpy()))) if volume.meta["affine_known"] else ""


def find_spacing(volume: MetaTensor, axis: int) -> tuple[float, float, float]:
    """mm between slices, rows and columns of a volume whose slices lie along `axis`."""
    mm = [float(step) for step in np.linalg.norm(volume.affine.numpy()[:3, :3], axis=0)]
    between = mm.pop(axis)
    return between, mm[0], mm[1]


def _encode_plan(image: MetaTensor, axis: int, kept: list[int], marked: list[bool]) -> np.ndarray:
    codes = find_axcodes(image)
    numbers = [float("RLAPSI".index(code)) for code in codes] or [0.0] * 3
    row = [*find_spacing(image, axis), _KNOWN if codes else _UNKNOWN, *numbers, *kept, *marked]
    return np.array(row, np.float32)
