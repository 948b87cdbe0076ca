# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of a site's cached volumes: their own, marked, apart from all data.

Volumes are removed when the cache is full. So the folder must be one that this package has made: its mark says so.
"""

import json
import os
from pathlib import Path

from flare_mri.atomic_file import final_name, write_atomically
from flare_mri.config.site import SiteConfig
from flare_mri.errors import InputError
from flare_mri.files import read_json
from flare_mri.folders import private_folder

VOLUMES = "flare-mri-volumes"
"""The one folder in `cache.folder` that is ever written to."""
MARK = "owner.json"

_FORMAT = {"format": "flare-mri cached volumes", "version": 1}
_MOST_BYTES = 4096


def site_folder(folder: Path, site: str) -> Path:
    """The folder of one site's volumes in `cache.folder`.

    Raises:
        InputError: a name that leads out of `folder`.
    """
    if site in ("", ".", "..") or "/" in site or "\0" in site:
        raise InputError(f"site {site[:200]!r}: expected a name that can name a folder, got another; rename the site")
    return folder / VOLUMES / site


def claim_folder(folder: Path, site: str) -> Path:
    """Makes the folder of a site's volumes, mode 0700 and marked, or makes sure that it is such a one.

    Args:
        folder: `cache.folder` of the site.
        site: its name.

    Raises:
        InputError: it cannot be made, belongs to another user, others may write to it, or it holds files without the
            mark of this site.
    """
    place = site_folder(folder, site)
    for path in (place.parent, place):
        private_folder(path, "cache.folder:")
    mark, expected = place / MARK, {**_FORMAT, "site": site}
    if not mark.exists():
        others = [name for name in os.listdir(place) if final_name(name) != MARK]
        if not others:
            write_atomically(mark, json.dumps(expected) + "\n", mode=0o600)
        elif not mark.exists():  # else another process has just marked it and cached a volume
            raise InputError(
                f"cache.folder: {place}: expected an empty folder or one with {MARK} of flare-mri, got "
                f"{others[0][:200]!r} without it; move what lies there or set another cache.folder"
            )
    found = read_json(mark, _MOST_BYTES, "move this folder or set another cache.folder")
    if found != expected:
        raise InputError(
            f"cache.folder: {mark}: expected {json.dumps(expected)}, got {json.dumps(found)[:200]}; move this folder "
            "or set another cache.folder"
        )
    return place


def check_apart(config: SiteConfig) -> None:
    """Refuses a cache in the data, where it would be taken for data, and data in the cache.

    Raises:
        InputError: `cache.folder` lies in `data.root`, or `data.root`, the data list or the mask lies in it.
    """
    cache, root = config.cache.folder, config.data.find_root()
    if root is not None and _lies_in(cache, root):
        raise _overlap_error(cache, "inside it", "data.root", root)
    named = {"data.root": root, **config.data.find_lists(), "mask.path": config.mask.path}
    for key, path in named.items():
        if path is not None and (_lies_in(path, cache) or _lies_in(path.parent, cache)):
            raise _overlap_error(cache, "that holds it", key, path)


def _overlap_error(cache: Path, got: str, key: str, place: Path) -> InputError:
    return InputError(
        f"cache.folder: {cache}: expected a folder apart from {key} ({place}), got one {got}; set cache.folder to a "
        "folder without data"
    )


def _lies_in(inner: Path, outer: Path) -> bool:
    """Whether `inner` is `outer` or lies in it, whatever links and mounts they are named by."""
    resolved = Path(os.path.realpath(inner))
    return any(_is_same(folder, outer) for folder in (resolved, *resolved.parents))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there yet
        return False
