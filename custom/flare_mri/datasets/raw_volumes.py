# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site's volumes of multi-coil k-space: read once, with coil sensitivities of the sampled centre, and cached."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.cache import CachedVolume, VolumeCache, cache_key, open_cache
from flare_mri.errors import InputError
from flare_mri.io.raw.reader import raw_reader
from flare_mri.io.raw.scan import RawScan
from flare_mri.io.scan import Scan
from flare_mri.physics.coil_sensitivities import estimate_sensitivities
from flare_mri.transforms.masks import make_mask

RAW_VERSION = 3  # raise it when readers or sensitivities give other numbers for the same files


@dataclass(frozen=True)
class RawVolume:
    """Fully sampled k-space of one volume.

    Attributes:
        name, subject: as of :class:`~flare_mri.io.scan.Scan`.
        slices: magnitudes float32 [H, W], root of the sum of squares over the coils, when asked for.
        kspace: float32 [C, H, W, 2], real and imaginary part, when asked for.
        sensitivities: the same, from the part that the site's mask samples in the middle.
        field_of_view: mm along H and W; None where the file does not say.
        simulated: whether no scanner measured it.
        orientation: empty: the image stays as it was measured.
    """

    name: str
    subject: str
    slices: CachedVolume
    kspace: CachedVolume
    sensitivities: CachedVolume
    field_of_view: tuple[float, float] | None = None
    simulated: bool = False
    orientation: str = ""

    @property
    def coils(self) -> int:
        """Number of coils."""
        return self.kspace.shape[1]

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the k-space."""
        return self.kspace.digest

    def item(self, index: int) -> dict[str, Tensor]:
        """`full` k-space and `sensitivities` of a slice, complex64 [C, H, W]."""
        return {"full": as_complex(self.kspace[index]), "sensitivities": as_complex(self.sensitivities[index])}


def as_complex(values: np.ndarray) -> Tensor:
    """float32 [..., 2] as complex64 [...]."""
    return torch.view_as_complex(torch.from_numpy(values))


def open_raw_volumes(config: SiteConfig, scans: list[Scan]) -> list[RawVolume]:
    """All volumes of a site; each is read, and its sensitivities found, only where the cache does not hold it.

    Args:
        config: `data`, `mask` and `cache` of the site.
        scans: of :class:`~flare_mri.io.raw.reader.RawReader`.

    Raises:
        InputError: a file that cannot be read, an undersampled scan, or a mask whose centre is too small for the coil
            sensitivities.
    """
    for key in ("spatial_size", "spacing", "orientation"):
        made = key == "spatial_size" and all(raw_reader(scan).simulated for scan in scans)
        if getattr(config.data, key) is not None and not made:
            raise InputError(f"data.{key}: expected none for raw k-space, which stays as it is; remove it")
    cache = open_cache(config)
    return [_open(config, scan, cache) for scan in scans]


def _open(config: SiteConfig, scan: Scan, cache: VolumeCache) -> RawVolume:
    slices = config.data.slices.model_dump()
    reader = raw_reader(scan)
    base = cache_key(scan.files, [RAW_VERSION, slices, *reader.identity()])
    preparation = Preparation(scan, config)
    kspace = cache.open(cache_key((), [base, "kspace"]), preparation.make_kspace)
    down, across = cache.open(cache_key((), [base, "field of view"]), preparation.make_field_of_view)[:].tolist()
    target = cache.open(cache_key((), [base, "target"]), preparation.make_target)
    mask = make_mask(config.mask, (kspace.shape[2], kspace.shape[3]))
    method = config.data.sensitivities  # type: ignore[attr-defined]
    key = cache_key((), [base, "sensitivities", method, np.packbits(mask).tobytes().hex()])
    sensitivities = cache.open(key, partial(find_sensitivities, kspace, mask, method))
    field_of_view = (down, across) if down and across else None
    return RawVolume(scan.name, scan.subject, target, kspace, sensitivities, field_of_view, reader.simulated)


def find_sensitivities(kspace: Any, mask: np.ndarray, method: str) -> np.ndarray:
    """Coil sensitivities of a volume from what a mask samples of it, a slice at a time.

    Args:
        kspace: float32 [S, C, H, W, 2], real and imaginary part.
        mask: bool [H, W].
        method: of :func:`flare_mri.physics.coil_sensitivities.estimate_sensitivities`.

    Returns:
        float32 [S, C, H, W, 2].
    """
    sampled = torch.from_numpy(mask)[None, None]
    result = np.empty(kspace.shape, np.float32)
    for index in range(len(result)):
        maps = estimate_sensitivities(as_complex(np.array(kspace[index]))[None] * sampled, sampled, method)[0]
        result[index] = torch.view_as_real(maps).numpy()
    return result


class Preparation:
    """Reads a scan once, for all entries that the cache keeps of it; the target is the last.

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

    def make_field_of_view(self) -> np.ndarray:
        """float32 [2], mm along H and W; 0 where the file does not say."""
        field = self._scan().field_of_view
        return np.array((0, 0) if field is None else field[:2], np.float32)

    def make_target(self) -> np.ndarray:
        """float32 [K, H, W]."""
        target, kept = self._scan().target, self._kept()
        self._read = None
        assert target is not None  # _scan saw to it
        return target[kept]

    def _kept(self) -> list[int]:
        kept = list(self.slices.indices(len(self._scan().kspace)))
        if not kept:
            raise InputError(f"{self.scan.origin}: expected a slice, got none; correct data.slices")
        return kept

    def _scan(self) -> RawScan:
        if self._read is None:
            self._read = raw_reader(self.scan).read_raw(self.scan.files)
        if self._read.target is None:
            raise InputError(
                f"{self.scan.origin}: expected a fully sampled scan to train on, got one of acceleration "
                f"{self._read.acceleration:.1f}; leave it out of data.include"
            )
        return self._read
