# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Which device each process of a site trains on, and whether a job can be trained by several."""

from collections import Counter

import torch

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.batches import shapes_of
from flare_mri.errors import InputError
from flare_mri.training import Task, TrainingSettings


def devices_of(config: SiteConfig) -> list[str]:
    """A device for each process: GPUs from the first on, or the CPU for all.

    Raises:
        InputError: one GPU is asked for by its number, or there are fewer GPUs than processes.
    """
    where = f"site {config.site}, {config.file}: processes"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.device == "cpu" or (config.device == "auto" and not count):
        return ["cpu"] * config.processes
    if config.device.startswith("cuda:"):
        raise InputError(
            f"{where}: expected device auto, cuda or cpu with several processes, got {config.device}; choose GPUs by "
            "$CUDA_VISIBLE_DEVICES"
        )
    if count < config.processes:
        raise InputError(
            f"{where}: expected at most this machine's {count} GPUs, got {config.processes}; lower it, or set device: "
            "cpu"
        )
    return [f"cuda:{rank}" for rank in range(config.processes)]


def check_processes(config: SiteConfig, settings: TrainingSettings, task: Task) -> None:
    """Refuses what several processes could not train as one would.

    Raises:
        InputError: a job with differential privacy, devices as in :func:`devices_of`, or batches smaller than the
            number of processes.
    """
    where = f"site {config.site}, {config.file}: processes"
    if settings.private:
        raise InputError(
            f"{where}: expected 1 for a job with differential privacy, whose patients and noise one process draws, got "
            f"{config.processes}; set processes: 1"
        )
    devices_of(config)
    alike = min(Counter(shapes_of(task.training_data(0))).values(), default=0)
    if (least := min(config.batch_size, alike)) < config.processes:
        raise InputError(
            f"{where}: expected at most as many as slices in every batch, {least} (batch_size, or training slices of "
            f"one shape), got {config.processes}; lower it"
        )
