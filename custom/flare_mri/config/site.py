# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""site.yaml: a hospital's own data and machine; docs/reference/site-yaml.md shows one. Nothing of it is ever sent."""

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field, SerializeAsAny, ValidationError, model_validator

from flare_mri.config.base import Settings, describe_error, show_value
from flare_mri.config.data import DataSettings, ExpandedPath, Texts
from flare_mri.config.mask import MaskSettings
from flare_mri.config.privacy import Budget
from flare_mri.config.statistics import StatisticsSettings
from flare_mri.config.yaml_file import check_mapping, read_yaml
from flare_mri.datasets.phantom import phantom_site
from flare_mri.errors import InputError
from flare_mri.io.formats import FORMATS, RECONSTRUCTION, SEGMENTATION, read_data_settings
from flare_mri.io.phantom import PhantomSettings


class SplitSettings(Settings):
    """Fractions for training, validation and test, taken from each volume's slices or from the volumes."""

    train: float = Field(0.7, ge=0, le=1)
    """part for training"""
    validation: float = Field(0.1, ge=0, le=1)
    """part that chooses the best model; 0: the test part does"""
    test: float = Field(0.2, ge=0, le=1)
    """part that scores"""
    by: Literal["slice", "volume"] = "slice"
    """slice: the first to the last of each volume; volume: whole subjects, for ten and more"""

    @model_validator(mode="after")
    def _check_sum(self) -> "SplitSettings":
        parts = self.train, self.validation, self.test
        if not math.isclose(sum(parts), 1, abs_tol=1e-6) or not self.test:
            got = ", ".join(f"{part:g}" for part in parts)
            raise ValueError(f"train: {_WANTED}, got {got}; correct it there")
        return self


_Model = TypeVar("_Model", bound=Settings)
_WANTED = "expected train, validation and test that sum to 1, train and test above 0"


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flare-mri"


class CacheSettings(Settings):
    """In which folder volumes are kept as memory maps, and how many megabytes (2^20 bytes) one site may keep."""

    folder: ExpandedPath = Field(default_factory=_cache_home)
    """apart from all data, by default ~/.cache/flare-mri; a folder flare-mri-volumes in it, for its owner only"""
    limit_mb: int = Field(2048, ge=1, le=2**30)
    """most megabytes that the site's volumes may take"""


_DEVICE = r"auto|cpu|cuda(:\d+)?"


def _check_device(name: str) -> str:
    if not re.fullmatch(_DEVICE, name):
        raise ValueError("expected auto, cpu, cuda or cuda:N")
    return name


class MachineSettings(Settings):
    """Keys of a site.yaml that say how the site computes. Bounds are far above any hospital's machine."""

    renamed: ClassVar[dict[str, str]] = {"pool": "pooled_sites"}

    site: str
    """name of the site; where it is given it must equal the FLARE site name"""
    batch_size: int = Field(4, ge=1, le=4096)
    """slices in a training batch"""
    device: Annotated[str, AfterValidator(_check_device), Field(json_schema_extra={"pattern": f"^({_DEVICE})$"})] = (
        "auto"
    )
    """auto, cpu, cuda or cuda:N"""
    processes: int = Field(1, ge=1, le=64)
    """processes that train together, a GPU each, or on the CPU a part of its threads; each takes a part of a batch"""
    workers: int = Field(0, ge=0, le=256)
    """processes that read slices, for each that trains"""
    compute_threads: int | None = Field(None, ge=1, le=1024)
    """threads of PyTorch on the CPU; none: $OMP_NUM_THREADS, else all cores"""
    memory_format: Literal["contiguous", "channels_last", "auto"] = "contiguous"
    """order of a 2D network's weights and features in memory; auto: the faster in a few steps at the job's start"""
    compile: bool = False
    """whether the network is compiled by torch.compile, which takes minutes at the job's start"""
    store: ExpandedPath | None = None
    """where private state lies; none: site_store in the site's FLARE folder"""


class SiteSettings(MachineSettings):
    """A site.yaml."""

    data: SerializeAsAny[DataSettings]
    """where the volumes are and which part of them to take"""
    split: SplitSettings = Field(default_factory=SplitSettings)
    """slices for training, validation and test; not where a data list divides the volumes, as most of decathlon do"""
    mask: MaskSettings = Field(default_factory=MaskSettings)
    """sampling of k-space; none for segmentation"""
    cache: CacheSettings = Field(default_factory=CacheSettings)
    """memory maps of the volumes"""
    statistics: StatisticsSettings = Field(default_factory=StatisticsSettings)
    """what is held back of statistics of these data"""
    cross_site: bool = False
    """whether this site's personal model may be sent to other sites to be scored there, and theirs be scored here"""
    privacy: Budget | None = None
    """what jobs may spend of its patients' privacy; none: any job is taken, and what it spends is noted"""


class SiteConfig(SiteSettings):
    """A site's settings, every default filled in, and where they come from."""

    members: tuple["SiteConfig", ...] = ()
    """sites of a pooled one, whose data it holds all"""
    file: Path | None = None
    """the site.yaml that this comes from, for messages; none for a phantom"""

    def is_phantom(self) -> bool:
        """Whether all the site's data are simulated, of nobody."""
        return all(one.data.format == "phantom" for one in self.members or (self,))


class PooledSettings(MachineSettings):
    """A site.yaml of the centralised run: one simulated site with the data of several."""

    batch_size: int | None = Field(None, ge=1, le=4096)  # type: ignore[assignment]
    """slices in a training batch; none: that of the first of the sites"""
    pooled_sites: Texts
    """site.yaml files of the sites, or names of phantom sites"""


_OF_NOBODY: dict[str, Any] = {"min_count": 1, "max_bins_percent": 100.0}
"""Statistics of phantoms, of whom nothing has to be held back."""


def phantom_site_config(site_name: str) -> SiteConfig:
    """The settings of a site that has no site.yaml: it scans the phantom with the protocol its name picks."""
    data, mask = PhantomSettings(format="phantom"), phantom_site(site_name).mask
    told = StatisticsSettings(**_OF_NOBODY)
    return SiteConfig(site=site_name, data=data, split=SplitSettings(by="volume"), mask=mask, statistics=told)


def load_site_config(path: str | Path, site_name: str) -> SiteConfig:
    """Reads and checks a site.yaml.

    Args:
        path: the file.
        site_name: the site's name in FLARE.

    Returns:
        The settings, every default filled in and every path absolute or relative to the working folder.

    Raises:
        InputError: the file is missing or not YAML; a key is unknown, missing, of the wrong type or out of range;
            the data root is not there. The one line names site, file, key, what was expected, what came and the fix.
    """
    return _load(Path(path), site_name, pools=True)


def _load(path: Path, site_name: str, pools: bool) -> SiteConfig:
    origin, folder = f"site {site_name!r}, {path}", path.resolve().parent
    values = {"site": site_name, **read_yaml(path, origin)}
    if values["site"] != site_name:
        raise InputError(
            f"{origin}: site: expected the FLARE site name {site_name!r}, got {show_value(values['site'])}; give each "
            "site its own file"
        )
    if "pooled_sites" in values:
        if not pools:
            raise InputError(
                f"{origin}: pooled_sites: expected nothing in a site.yaml that pooled_sites names, got a list; name "
                "its members instead"
            )
        return _pool(_validate(PooledSettings, values, origin, folder), path, folder)
    data = read_data_settings(values.get("data", {}), origin, folder)
    _refuse_needless(values, data, origin)
    labelled = SEGMENTATION in FORMATS[data.format].tasks
    for name in ("split", "mask", "cache", "statistics"):
        if name in values:
            values[name] = check_mapping(values[name], origin, name)
    values["split"] = {"by": "volume" if labelled else "slice", **values.get("split", {})}
    values["mask"] = {**_default_mask(data.format, site_name, values.get("mask", {})), **values.get("mask", {})}
    values["statistics"] = {**(_OF_NOBODY if data.format == "phantom" else {}), **values.get("statistics", {})}
    settings = _validate(SiteSettings, {**values, "data": data}, origin, folder)
    split = settings.split
    if not split.train and not labelled:  # an outside site of IOP-FL only tests
        got = f"{split.train:g}, {split.validation:g}, {split.test:g}"
        raise InputError(f"{origin}: split.train: {_WANTED}, got {got}; correct it there")
    return SiteConfig(**dict(settings), file=path)


def _default_mask(name: str, site_name: str, given: dict[str, Any]) -> dict[str, Any]:
    """A phantom's scanner has a mask of its own, of which site.yaml may change a part."""
    if name != "phantom" or given.get("kind") == "file":
        return {}
    return phantom_site(site_name).mask.model_dump(exclude_unset=True)


def _validate(model: type[_Model], values: dict[str, Any], origin: str, folder: Path) -> _Model:
    try:
        return model.model_validate(values, context={"folder": folder})
    except ValidationError as error:
        raise InputError(f"{origin}: {describe_error(error, model)}") from error


def _pool(settings: PooledSettings, path: Path, folder: Path) -> SiteConfig:
    """One site with the data of several, each as its own site.yaml (or, for a name, its phantom) describes it."""
    members = [_load_member(folder, member) for member in settings.pooled_sites]
    if not members:
        raise InputError(
            f"site {settings.site!r}, {path}: pooled_sites: expected site.yaml files or names of phantom sites, got "
            "none; name at least one"
        )
    own = {name: getattr(settings, name) for name in MachineSettings.model_fields}
    own["batch_size"] = settings.batch_size or members[0].batch_size
    return members[0].model_copy(update={**own, "members": tuple(members), "file": path})


def _load_member(folder: Path, member: str) -> SiteConfig:
    if not member.endswith((".yaml", ".yml")):
        return phantom_site_config(member)
    path = Path(os.path.normpath(folder / member))
    return _load(path, path.parent.name, pools=False)


def _refuse_needless(values: dict[str, Any], data: DataSettings, origin: str) -> None:
    name = data.format
    if RECONSTRUCTION not in FORMATS[name].tasks and "mask" in values:
        raise InputError(
            f"{origin}: mask: expected nothing, since {name} is for segmentation of whole images, got a mask; remove it"
        )
    if "split" in values and data.is_listed():
        raise InputError(
            f"{origin}: split: expected nothing, since {name}'s data list divides the volumes, got a split; remove it"
        )
