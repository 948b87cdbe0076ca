# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""site.yaml: what a hospital says of its own data and machine. Nothing of it is ever sent.

```yaml
site: site-1                # optional; must equal the FLARE site name if given
data:
  format: fastmri           # reconstruction: phantom | fastmri | nifti | brats | dicom
                            # segmentation: phantom | prostate | decathlon | datalist_2d
  root: /data/knee          # relative: from this file; ~, $VAR and ${VAR:-default} are expanded
  include: [flair, t2]      # brats: the files' suffixes, required; others: patterns of files or series to take
  slices: {start: 40, stop: 120, step: 1}   # as Python's range, along the slice axis; brats: 40..119 if not given
  orientation: RAS          # axis codes to which scans are turned; null: as stored, the default of fastmri, dicom,
                            # phantom and datalist_2d
  spacing: null             # mm between voxels to which scans are resampled, such as [1, 1, 3], after turning
  slice_axis: 2             # NIfTI files: axis of the slices, after turning
  spatial_size: [128, 128]  # size of the slices; reconstruction: by a crop or zero-padding of k-space
  augmentation: null        # random transforms in training: null: as the job says | true | false | [flip, affine, ...]
  subjects: 10              # phantom only
  datalist: list.json       # decathlon (default: <root>/datalist.json) and datalist_2d: what is for what; no `split`
  fit: pad                  # segmentation, how slices get to `spatial_size`: pad (and crop) about the centre | resize
  merge_labels: false       # decathlon and datalist_2d: all labels above 0 are the organ; prostate always does so
split: {train: 0.7, validation: 0.1, test: 0.2, by: slice}   # by: slice (first..last of each volume) | volume
mask: {kind: equispaced, acceleration: 4, centre_fraction: 0.08, seed: 0}   # equispaced | random | radial | gaussian
#  or {kind: file, path: mask.npy}                                          # .npy, .npz or .mat; reconstruction only
batch_size: 4
device: auto                # auto | cpu | cuda | cuda:N
workers: 0
compute_threads: null       # threads of PyTorch on the CPU, 1 or more; null: $OMP_NUM_THREADS, else all cores
cache: {limit_mb: 2048, folder: ~/.cache/flare-mri}   # volumes as float32 memory maps, in a folder flare-mri-volumes
                            # of their own in it, readable by the owner only; `folder` and data must not overlap
pool: [../a/site.yaml]      # instead of data, split and mask: the centralised run, one site with the data of several
store: null                 # where private state lies; null: site_store in the site's FLARE folder
```
"""

import math
import os
import re
from dataclasses import replace
from pathlib import Path

from flare_mri.config.data import DataSettings, SliceRange
from flare_mri.config.site_settings import CacheSettings, SiteConfig, SplitSettings
from flare_mri.config.yaml_file import REQUIRED, Section, read_settings, shown
from flare_mri.datasets.phantom import phantom_site
from flare_mri.io.formats import FORMATS, RECONSTRUCTION, SEGMENTATION, read_data_settings
from flare_mri.io.phantom import PhantomSettings
from flare_mri.transforms.masks import MASK_KINDS, MaskSettings

__all__ = [
    "CacheSettings",
    "DataSettings",
    "SiteConfig",
    "SliceRange",
    "SplitSettings",
    "load_site_config",
    "phantom_site_config",
]

_MOST = {  # far above what a hospital has, so that a slip of the finger takes neither hours nor the machine's memory
    "batch_size": 4096,
    "workers": 256,
    "compute_threads": 1024,
    "seed": 2**32 - 1,
    "limit_mb": 2**30,
}


def phantom_site_config(site_name: str) -> SiteConfig:
    """The settings of a site that has no site.yaml: it scans the phantom with the protocol its name picks."""
    data = PhantomSettings(format="phantom")
    return SiteConfig(site_name, data, SplitSettings(by="volume"), phantom_site(site_name).mask)


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
    top = read_settings(path, f"site {site_name!r}, {path}")
    named = top.text("site", site_name)
    if named != site_name:
        raise top.error("site", f"the FLARE site name {site_name!r}", shown(named), "give each site its own file")
    if top.has("pool"):
        if not pools:
            raise top.error("pool", "nothing in a site.yaml that a pool names", "a pool", "name its members instead")
        return replace(_pooled(top, site_name), file=path)
    data = read_data_settings(top.take("data", "a mapping", {}), top.origin, top.folder)
    phantom = data.format == "phantom"
    _refuse_needless(top, data.format)
    config = SiteConfig(
        site=site_name,
        data=data,
        split=_split(top.section("split"), SEGMENTATION in FORMATS[data.format].tasks),
        mask=_mask(top.section("mask"), phantom_site(site_name).mask if phantom else MaskSettings()),
        batch_size=top.integer("batch_size", SiteConfig.batch_size, 1, _MOST["batch_size"]),
        device=_device(top),
        workers=top.integer("workers", SiteConfig.workers, 0, _MOST["workers"]),
        compute_threads=top.integer("compute_threads", SiteConfig.compute_threads, 1, _MOST["compute_threads"]),
        cache=_cache(top.section("cache")),
        store=top.path("store", None),
        file=path,
    )
    top.finish()
    return config


def _pooled(top: Section, site_name: str) -> SiteConfig:
    """One site with the data of several, each as its own site.yaml (or, for a name, its phantom) describes it."""
    members = [_member(top, member) for member in top.texts("pool")]
    if not members:
        raise top.error("pool", "site.yaml files or names of phantom sites", "none", "name at least one")
    config = replace(
        members[0],
        site=site_name,
        pool=tuple(members),
        batch_size=top.integer("batch_size", members[0].batch_size, 1, _MOST["batch_size"]),
        device=_device(top),
        workers=top.integer("workers", SiteConfig.workers, 0, _MOST["workers"]),
        compute_threads=top.integer("compute_threads", SiteConfig.compute_threads, 1, _MOST["compute_threads"]),
        store=top.path("store", None),
    )
    top.finish()
    return config


def _member(top: Section, member: str) -> SiteConfig:
    if not member.endswith((".yaml", ".yml")):
        return phantom_site_config(member)
    path = Path(os.path.normpath(top.folder / member))
    return _load(path, path.parent.name, pools=False)


def _refuse_needless(top: Section, name: str) -> None:
    if RECONSTRUCTION not in FORMATS[name].tasks and top.has("mask"):
        raise top.error("mask", f"nothing, since {name} is for segmentation of whole images", "a mask", "remove it")
    if FORMATS[name].listed and top.has("split"):
        raise top.error("split", f"nothing, since {name}'s data list divides the volumes", "a split", "remove it")


def _split(section: Section, segmentation: bool) -> SplitSettings:
    train = section.number("train", SplitSettings.train, high=1)
    validation = section.number("validation", SplitSettings.validation, high=1)
    test = section.number("test", SplitSettings.test, high=1)
    by = section.choice("by", ("slice", "volume"), "volume" if segmentation else "slice")
    trains = bool(train) or segmentation  # an outside site of IOP-FL only tests
    if not math.isclose(train + validation + test, 1, abs_tol=1e-6) or not trains or not test:
        got = f"{train:g}, {validation:g}, {test:g}"
        raise section.error("train", "train, validation and test that sum to 1, train and test above 0", got)
    section.finish()
    return SplitSettings(train, validation, test, by)


def _mask(section: Section, default: MaskSettings) -> MaskSettings:
    kind = section.choice("kind", MASK_KINDS, default.kind)
    if kind == "file":
        settings = MaskSettings(kind, path=section.path("path", REQUIRED))
    else:
        settings = MaskSettings(
            kind,
            section.number("acceleration", default.acceleration, low=1),
            section.number("centre_fraction", default.centre_fraction, high=1),
            section.integer("seed", default.seed, 0, _MOST["seed"]),
        )
    section.finish()
    return settings


def _device(section: Section) -> str:
    device = section.text("device", SiteConfig.device)
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise section.error("device", "auto, cpu, cuda or cuda:N", shown(device))
    return device


def _cache(section: Section) -> CacheSettings:
    default = CacheSettings()
    limit = section.integer("limit_mb", default.limit_mb, 1, _MOST["limit_mb"])
    settings = CacheSettings(section.path("folder", default.folder), limit)
    section.finish()
    return settings
