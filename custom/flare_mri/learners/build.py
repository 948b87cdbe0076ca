# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""From the names in a job and a site's settings to a task."""

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
    device = resolve_device(config.device, config.site)
    if name == SEGMENTATION:
        if uses_kspace:
            raise InputError("network: expected one that works on images for segmentation, got one that wants k-space")
        return SegmentationTask(SegmentationData(config, seed), config, device)
    return ReconstructionTask(ReconstructionData(config, seed, kspace=uses_kspace), config, device)


def resolve_device(name: str, site: str) -> torch.device:
    """``auto`` is a GPU where there is one; a device asked for by name must be there.

    Raises:
        InputError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"site {site}: site.yaml asks for device {name!r}, no GPU is there; use 'auto' or 'cpu'")
    try:
        return torch.device(name)
    except RuntimeError as e:
        raise InputError(f"site {site}: device {name!r} is unknown; expected auto, cpu or cuda[:n]") from e
