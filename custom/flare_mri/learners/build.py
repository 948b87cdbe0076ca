# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""From the names in a job and a site's settings to a task."""

from pathlib import Path

import torch

from flare_mri.data.formats import RECONSTRUCTION, SEGMENTATION
from flare_mri.data.reconstruction import ReconstructionData
from flare_mri.data.segmentation import SegmentationData
from flare_mri.data.site_config import SiteConfig
from flare_mri.errors import InputError
from flare_mri.learners.pooled import PooledTask
from flare_mri.learners.reconstruction import ReconstructionTask
from flare_mri.learners.segmentation import SegmentationTask
from flare_mri.learners.task import Task

TASKS = (RECONSTRUCTION, SEGMENTATION)


def build_task(name: str, config: SiteConfig, seed: int, uses_kspace: bool = False) -> Task:
    """Read and check a site's data and make its task.

    Args:
        name: one of :data:`TASKS`.
        config: the site's settings.
        seed: the job's seed.
        uses_kspace: the network wants k-space besides the zero-filled image.

    Raises:
        InputError: unknown task, data or device that cannot be used.
    """
    if name not in TASKS:
        raise InputError(f"task {name!r}: expected one of {', '.join(TASKS)}")
    if config.pool:
        tasks = [build_task(name, member, seed, uses_kspace) for member in config.pool]
        return PooledTask(config.site, tasks, config.batch_size, config.workers)
    device = resolve_device(config.device, config.site, config.file)
    if name == SEGMENTATION:
        if uses_kspace:
            raise InputError("network: expected one that works on images for segmentation, got one that wants k-space")
        return SegmentationTask(SegmentationData(config, seed), config, device)
    return ReconstructionTask(ReconstructionData(config, seed, kspace=uses_kspace), config, device)


def resolve_device(name: str, site: str, file: Path | None = None) -> torch.device:
    """``auto`` is a GPU where there is one; a device asked for by name must be there.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        site: the site's name, for messages.
        file: the ``site.yaml`` that asks for it, for messages.

    Raises:
        InputError: no such device on this machine.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    where = f"site {site!r}, {file}: device" if file else f"site {site!r}: device"
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise InputError(f"{where}: expected auto, cpu or cuda[:n], got {name!r}; correct it there") from e
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(f"{where}: expected a GPU of this machine, which has {count}, got {name!r}; use auto or cpu")
    return device
