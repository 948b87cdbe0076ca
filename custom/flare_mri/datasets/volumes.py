# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site's volumes, whatever their format: found, checked, brought to one matrix and cached."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from flare_mri.config.site import DataSettings, SiteConfig
from flare_mri.datasets.cache import CachedVolume, cache_key, open_cache
from flare_mri.datasets.phantom import DEFAULT_MATRIX, PHANTOM_VERSION, make_phantom
from flare_mri.errors import InputError
from flare_mri.files import check_matrix
from flare_mri.io.formats import RECONSTRUCTION, check_task
from flare_mri.io.orientation import orientation
from flare_mri.io.readers_dicom import find_dicom
from flare_mri.io.readers_fastmri import find_fastmri
from flare_mri.io.readers_nifti import find_brats, find_nifti
from flare_mri.io.source import Source, magnitudes
from flare_mri.transforms.kspace import crop_kspace

CACHE_VERSION = 1  # raise it when readers give other numbers for the same files


@dataclass(frozen=True)
class Volume:
    """One volume: `slices[i]` is float32 [H, W], magnitudes >= 0, read from the cache when asked for.

    `orientation` says how the file's axes lie, where that is known; `digest` is the hex SHA-256 of the slices.
    """

    name: str
    subject: str
    slices: CachedVolume
    orientation: str = ""
    digest: str = ""


FINDERS: dict[str, Callable[[DataSettings], list[Source]]] = {
    "fastmri": find_fastmri,
    "nifti": find_nifti,
    "brats": find_brats,
    "dicom": find_dicom,
}


def open_volumes(config: SiteConfig) -> list[Volume]:
    """Opens all volumes of a site; each is read from its files only where the cache does not hold it.

    Args:
        config: `data` and `cache` of the site.

    Returns:
        The volumes in the order of their names, all of one height and width.

    Raises:
        InputError: no volume, a bad file, volumes of different sizes, or a cache folder that cannot be used; the line
            names the file or key and the fix.
    """
    data, sources = config.data, find_sources(config)
    cache = open_cache(config)
    settings = {**asdict(data), "root": None, "contrasts": None, "cache": CACHE_VERSION}
    volumes: list[Volume] = []
    for source in sources:
        label = source.name if source.files else (config.site, source.name, PHANTOM_VERSION)
        key = cache_key(source.files, [settings, label])
        slices = cache.open(key, partial(read_volume, source, data))
        volumes.append(Volume(source.name, source.subject, slices, orientation(source.files), slices.digest))
        if slices.shape[1:] != volumes[0].slices.shape[1:]:
            raise InputError(
                f"{source.files[0]}: expected slices of {list(volumes[0].slices.shape[1:])} as in {volumes[0].name}, "
                f"got {list(slices.shape[1:])}; set data.matrix to bring all volumes to one size"
            )
    return volumes


def find_sources(config: SiteConfig) -> list[Source]:
    """Finds all volumes of a site, in the order of their names; nothing is read.

    Raises:
        InputError: data of another task, or no volume.
    """
    check_task(config.data.format, RECONSTRUCTION)
    return _phantom(config) if config.data.format == "phantom" else FINDERS[config.data.format](config.data)


def read_volume(source: Source, data: DataSettings) -> np.ndarray:
    """Reads and checks a volume and brings it to `data.matrix`: float32 [S, H, W], magnitudes >= 0.

    Raises:
        InputError: files that cannot be read, no image, or a matrix too large.
    """
    volume = magnitudes(source.read(), source)
    if data.matrix is None or data.matrix == volume.shape[1:]:
        return volume
    where = source.files[0] if source.files else source.name
    check_matrix(where, len(volume), data.matrix)
    return crop_kspace(volume, data.matrix)


def _phantom(config: SiteConfig) -> list[Source]:
    names = [f"subject-{subject:02d}" for subject in range(config.data.subjects)]
    return [Source(name, name, (), partial(_read_phantom, config, subject)) for subject, name in enumerate(names)]


def _read_phantom(config: SiteConfig, subject: int) -> np.ndarray:
    slices = make_phantom(config.site, subject, config.data.matrix or DEFAULT_MATRIX).slices
    return slices[list(config.data.slices.indices(len(slices)))]
