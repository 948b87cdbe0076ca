# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site's volumes of multi-coil k-space: read once, with coil sensitivities of the sampled centre, and cached."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from nibabel.orientations import aff2axcodes
from torch import Tensor

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.cache import CachedVolume, VolumeCache, cache_key, open_cache
from flare_mri.datasets.pictures import SlicePlace
from flare_mri.errors import InputError
from flare_mri.io.raw.reader import raw_reader
from flare_mri.io.raw.scan import RawScan
from flare_mri.io.scan import Scan
from flare_mri.physics.classical import root_sum_of_squares
from flare_mri.physics.coil_sensitivities import estimate_sensitivities
from flare_mri.progress import with_progress
from flare_mri.transforms.masks import make_mask

RAW_VERSION = 6  # raise it when readers or sensitivities give other numbers for the same files
_CODES = "RLAPSI"


@dataclass(frozen=True)
class RawVolume:
    """K-space of one volume, fully sampled or as it was measured undersampled.

    Attributes:
        name, subject: as of :class:`~flare_mri.io.scan.Scan`.
        slices: magnitudes float32 [H, W], root of the sum of squares over the coils, when asked for; zero-filled ones
            of an undersampled scan.
        kspace: float32 [C, H, W, 2], real and imaginary part, when asked for.
        sensitivities: the same, from the part that the site's mask samples in the middle, or the scan's own.
        mask: float32 [H, W], 1 where an undersampled scan was measured; None where it is fully sampled.
        field_of_view: mm along H and W; None where the file does not say.
        simulated: whether no scanner measured it.
        orientation: empty: the image stays as it was measured.
        axcodes: of the image's rows, columns and slices; empty where the file does not say how it lies.
        contrast: what the file calls it; None where it does not say.
    """

    name: str
    subject: str
    slices: CachedVolume
    kspace: CachedVolume
    sensitivities: CachedVolume
    mask: CachedVolume | None = None
    field_of_view: tuple[float, float] | None = None
    simulated: bool = False
    orientation: str = ""
    axcodes: str = ""
    contrast: str | None = None

    def find_place(self, slice_axis: int) -> SlicePlace:
        """How the slices lie; raw scans have one axis of slices."""
        mm, pixels = self.field_of_view or self.slices.shape[1:], self.slices.shape[1:]
        return SlicePlace(self.axcodes, (mm[0] / pixels[0], mm[1] / pixels[1]))

    @property
    def coils(self) -> int:
        """Number of coils."""
        return self.kspace.shape[1]

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the k-space."""
        return self.kspace.digest

    def item(self, index: int) -> dict[str, Tensor]:
        """`full` k-space and `sensitivities` of a slice, complex64 [C, H, W]; `mask` bool [1, H, W] if undersampled."""
        item = {"full": as_complex(self.kspace[index]), "sensitivities": as_complex(self.sensitivities[index])}
        return item if self.mask is None else item | {"mask": torch.from_numpy(self.mask[index] > 0)[None]}


def as_complex(values: np.ndarray) -> Tensor:
    """float32 [..., 2] as complex64 [...]."""
    return torch.view_as_complex(torch.from_numpy(values))


def open_raw_volumes(config: SiteConfig, scans: list[Scan]) -> list[RawVolume]:
    """All volumes of a site; each is read, and its sensitivities found, only where the cache does not hold it.

    Args:
        config: `data`, `mask` and `cache` of the site.
        scans: of :class:`~flare_mri.io.raw.reader.RawReader`.

    Raises:
        InputError: a file that cannot be read, fully sampled scans beside undersampled ones, or a mask whose centre is
            too small for the coil sensitivities.
    """
    for key in ("spatial_size", "spacing", "orientation"):
        made = key == "spatial_size" and all(raw_reader(scan).simulated for scan in scans)
        if getattr(config.data, key) is not None and not made:
            raise InputError(f"data.{key}: expected none for raw k-space, which stays as it is; remove it")
    cache = open_cache(config)
    volumes = [_open(config, scan, cache) for scan in with_progress(scans, f"{config.site}: reading")]
    for scan, volume in zip(scans, volumes, strict=True):
        if (volume.mask is None) != (volumes[0].mask is None):
            kinds = ("fully sampled", "undersampled")
            first, other = kinds if volumes[0].mask is None else kinds[::-1]
            raise InputError(
                f"{scan.origin}: expected a scan that is {first}, as {volumes[0].name} is, got one that is {other}; "
                "leave one kind out by data.include"
            )
    return volumes


def _open(config: SiteConfig, scan: Scan, cache: VolumeCache) -> RawVolume:
    slices = config.data.slices.model_dump()
    reader = raw_reader(scan)
    base = cache_key(scan.files, [RAW_VERSION, slices, *reader.identity()])
    preparation = Preparation(scan, config)
    kspace = cache.open(cache_key((), [base, "kspace"]), preparation.make_kspace)
    facts = cache.open(cache_key((), [base, "facts"]), preparation.make_facts)[:].tolist()
    down, across, undersampled, known, *codes = facts
    own = cache.open(cache_key((), [base, "mask"]), preparation.make_mask) if undersampled else None
    magnitudes = cache.open(cache_key((), [base, "magnitudes"]), preparation.make_magnitudes)
    mask = own[:] > 0 if own is not None else make_mask(config.mask, (kspace.shape[2], kspace.shape[3]))
    method = config.data.sensitivities  # type: ignore[attr-defined]
    key = cache_key((), [base, "sensitivities", method, np.packbits(mask).tobytes().hex()])
    try:
        sensitivities = cache.open(key, partial(find_sensitivities, kspace, mask, method))
    except InputError as error:
        raise error if own is None else InputError(f"{scan.origin}: {error}") from None
    field_of_view = (down, across) if down and across else None
    axcodes = "".join(_CODES[int(code)] for code in codes) if known else ""
    return RawVolume(
        scan.name,
        scan.subject,
        magnitudes,
        kspace,
        sensitivities,
        own,
        field_of_view,
        simulated=reader.simulated,
        axcodes=axcodes,
        contrast=reader.find_contrast(scan.files),
    )


def find_sensitivities(kspace: Any, mask: np.ndarray, method: str) -> np.ndarray:
    """Coil sensitivities of a volume from what a mask samples of it, a slice at a time.

    Args:
        kspace: float32 [S, C, H, W, 2], real and imaginary part.
        mask: bool [H, W], or [S, H, W] where slices differ.
        method: of :func:`flare_mri.physics.coil_sensitivities.estimate_sensitivities`.

    Returns:
        float32 [S, C, H, W, 2].
    """
    result = np.empty(kspace.shape, np.float32)
    masks = np.broadcast_to(mask, (len(result), *mask.shape[-2:]))
    for index in range(len(result)):
        sampled = torch.from_numpy(masks[index].copy())[None, None]
        maps = estimate_sensitivities(as_complex(np.array(kspace[index]))[None] * sampled, sampled, method)[0]
        result[index] = torch.view_as_real(maps).numpy()
    return result


class Preparation:
    """Reads a scan once, for all entries that the cache keeps of it; the magnitudes are the last.

    Args:
        scan: not read yet.
        config: settings of the site.
    """

    def __init__(self, scan: Scan, config: SiteConfig):
        self.scan, self.slices = scan, config.data.slices
        self._read: RawScan | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_read": None}

    def make_kspace(self) -> np.ndarray:
        """float32 [K, C, H, W, 2] of the slices that are kept."""
        kspace = self._scan().kspace[self._kept()]
        return np.ascontiguousarray(kspace).view(np.float32).reshape(*kspace.shape, 2)

    def make_facts(self) -> np.ndarray:
        """float32 [7]: mm along H and W, 0 where the file does not say; whether the scan is undersampled; whether it is
        known how it lies, and numbers of three axis codes."""
        scan = self._scan()
        field = (0.0, 0.0) if scan.field_of_view is None else scan.field_of_view[:2]
        known = scan.geometry is not None
        codes = [_CODES.index(code) for code in aff2axcodes(scan.geometry)] if known else (0, 0, 0)
        return np.array((*field, scan.target is None, known, *codes), np.float32)

    def make_mask(self) -> np.ndarray:
        """float32 [K, H, W], 1 where an undersampled scan was measured."""
        return self._scan().mask[self._kept()].astype(np.float32)

    def make_magnitudes(self) -> np.ndarray:
        """float32 [K, H, W]."""
        scan, kept = self._scan(), self._kept()
        self._read = None
        if scan.target is not None:
            return scan.target[kept]
        return np.stack([root_sum_of_squares(torch.from_numpy(scan.kspace[[k]]))[0, 0].numpy() for k in kept])

    def _kept(self) -> list[int]:
        kept = list(self.slices.indices(len(self._scan().kspace)))
        if not kept:
            raise InputError(f"{self.scan.origin}: expected a slice, got none; correct data.slices")
        return kept

    def _scan(self) -> RawScan:
        if self._read is None:
            self._read = raw_reader(self.scan).read_raw(self.scan.files)
        return self._read
