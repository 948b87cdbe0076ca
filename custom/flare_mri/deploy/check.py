# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a job will find at a site: the parts of ``flare-mri site check`` that read a startup kit and make tasks."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_mri.config.segmentation import ORGAN
from flare_mri.config.site import SiteConfig
from flare_mri.deploy.kit import site_name
from flare_mri.errors import InputError
from flare_mri.flare.executors.site import Site, open_site
from flare_mri.folders import PRIVATE
from flare_mri.io.formats import FORMATS
from flare_mri.training import SEGMENTATION, TrainingSettings, build_task


def open_kit(kit: Path) -> Site:
    """The site of a startup kit.

    Raises:
        InputError: no kit of a hospital, or no settings of its own data.
    """
    return open_site(site_name(kit), kit.absolute(), require_config=True)


def build_tasks(config: SiteConfig, seed: int) -> dict[str, Any]:
    """The tasks that a site's data serve, by name, made as a job makes them: all data are read.

    Args:
        config: the site's settings.
        seed: of the job, which decides the split by volume.

    Raises:
        InputError: the first thing that would stop a job; the message names site, file, key and fix.
    """
    if config.members:
        raise InputError(f"site {config.site}: {config.file} has pooled_sites, which is for simulated sites; give data")
    tasks: dict[str, Any] = {}
    phantom = config.data.format == "phantom"  # for either task; by slice it is one of reconstruction
    left_out = {SEGMENTATION} if phantom and config.split.by == "slice" else set()
    for name in (task for task in FORMATS[config.data.format].tasks if task not in left_out):
        organs = tuple(config.data.find_labels() or (ORGAN,)) if name == SEGMENTATION else (ORGAN,)
        tasks[name] = build_task(name, config, seed, training=TrainingSettings(organs=organs))
    return tasks


def describe_tasks(tasks: Mapping[str, Any]) -> dict[str, Any]:
    """What a job will find, in plain values: for each task counts and settings."""
    return {name: {**task.data.describe(), "device": str(task.device)} for name, task in tasks.items()}


def check_store(site: Site) -> None:
    """Makes the folder of a site's private state, or sees that it can be written to.

    Raises:
        InputError: it cannot.
    """
    try:
        site.store_root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=site.store_root):
            pass
    except OSError as e:
        raise InputError(
            f"site {site.config.site}: site store {site.store_root} cannot be written ({e.strerror}); free or move it"
        ) from e
