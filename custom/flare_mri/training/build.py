# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""From the names in a job and a site's settings to a task."""

from collections.abc import Sequence
from pathlib import Path

import torch

from flare_mri.config.site import SiteConfig
from flare_mri.config.training import LOSSES, OTHERS, TrainingSettings
from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.datasets.reconstruction_slices import SAMPLE_KEYS
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.errors import InputError
from flare_mri.io.formats import RECONSTRUCTION, SEGMENTATION
from flare_mri.training.pooled import PooledTask
from flare_mri.training.reconstruction import ReconstructionTask
from flare_mri.training.segmentation import SegmentationTask
from flare_mri.training.task import Task

TASKS = (RECONSTRUCTION, SEGMENTATION)
_SAMPLE_KEYS = {RECONSTRUCTION: SAMPLE_KEYS, SEGMENTATION: ("image",)}


def build_task(
    name: str,
    config: SiteConfig,
    seed: int,
    keys: Sequence[str] | None = None,
    training: TrainingSettings = TrainingSettings(),  # noqa: B008 (it is frozen)
) -> Task:
    """Read and check a site's data and make its task.

    Args:
        name: one of :data:`TASKS`.
        config: the site's settings.
        seed: the job's seed.
        keys: entries of a sample that the network is called with, see :func:`flare_mri.networks.sample_keys`; None
            for the image alone.
        training: of the job: loss, organs, patches, and whether it asks for the task's random transforms in training,
            of which a site has the last word.

    Raises:
        InputError: unknown task, entries that its samples do not have, data or device that cannot be used.
    """
    if name not in TASKS:
        raise InputError(f"task {name!r}: expected one of {', '.join(TASKS)}")
    known = _SAMPLE_KEYS[name]
    keys = known[:1] if keys is None else keys
    if not set(keys) <= set(known):
        raise InputError(
            f"network: expected one that needs no more than {' and '.join(known)} for {name}, got one that needs "
            f"{' and '.join(keys)}; choose another network"
        )
    if config.members:
        tasks = [build_task(name, member, seed, keys, training) for member in config.members]
        if name == SEGMENTATION and len({task.data.organs.labelled for task in tasks}) > 1:  # type: ignore[attr-defined]
            raise InputError(
                f"site {config.site}: pooled_sites: expected sites that label the same organs of the job, "
                "got others; leave out those that differ"
            )
        return PooledTask(config.site, tasks, config.batch_size, config.workers)
    device = resolve_device(config.device, config.site, config.file)
    check_training(training, name)
    if name == SEGMENTATION:
        data = SegmentationData(config, seed, training.augmentation, training.plan())
        return SegmentationTask(data, config, device, training.loss or LOSSES[name][0])
    return ReconstructionTask(
        ReconstructionData(config, seed, keys, training.augmentation), config, device, training.loss
    )


def check_training(training: TrainingSettings, task: str) -> None:
    """Refuses settings of the other task.

    Raises:
        InputError: one is given.
    """
    if training.loss not in (None, *LOSSES[task]):
        raise InputError(f"loss: expected {' or '.join(LOSSES[task])} for {task}, got {training.loss!r}; correct it")
    for key in sorted(OTHERS[task]):
        field = TrainingSettings.model_fields[key]
        if getattr(training, key) != field.default:
            raise InputError(f"{key}: expected none for {task}, got {getattr(training, key)!r:.80}; leave it out")


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
