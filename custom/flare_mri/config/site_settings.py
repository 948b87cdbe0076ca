# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What site.yaml comes to: its settings with every default filled in. The keys stand in :mod:`.site_config`."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from flare_mri.config.data import DataSettings
from flare_mri.transforms.masks import MaskSettings


@dataclass(frozen=True)
class SplitSettings:
    """Fractions for training, validation and test, taken from each volume's slices or from the volumes."""

    train: float = 0.7
    validation: float = 0.1
    test: float = 0.2
    by: str = "slice"


@dataclass(frozen=True)
class CacheSettings:
    """In which folder volumes are kept as memory maps, and how many megabytes (2^20 bytes) one site may keep."""

    folder: Path = field(default_factory=lambda: _cache_home() / "flare-mri")
    limit_mb: int = 2048


@dataclass(frozen=True)
class SiteConfig:
    """All a site says of itself; `file` is the site.yaml it comes from, for messages, None for the phantom."""

    site: str
    data: DataSettings
    split: SplitSettings
    mask: MaskSettings
    batch_size: int = 4
    device: str = "auto"
    workers: int = 0
    compute_threads: int | None = None
    cache: CacheSettings = field(default_factory=CacheSettings)
    store: Path | None = None
    pool: tuple["SiteConfig", ...] = ()
    file: Path | None = field(default=None, compare=False)


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
