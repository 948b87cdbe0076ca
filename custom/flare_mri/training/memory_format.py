# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The order in which a network's weights and features lie in memory, by setting or by a short trial."""

import copy
import time
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.data import default_collate

from flare_mri.datasets.batches import batches_in_order
from flare_mri.training.precision import autocast
from flare_mri.training.task import Task, check_trains, on_device

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_STEPS = 5
_WORTH = 0.95  # of the time: a smaller gain is not told from chance by so few steps


def find_faster_format(network: nn.Module, task: Task, precision: str) -> str:
    """The faster format in a few steps, which take turns; ``contiguous`` where they differ by less than 5 %.

    Args:
        network: of the job; a copy of it is tried, on the task's device.
        task: of the site.
        precision: of the job.

    Raises:
        InputError: the site has no training slice.
    """
    check_trains(task)
    dataset = task.training_data(seed=0)
    batch = default_collate([dataset[place] for place in batches_in_order(dataset, task.batch_size)[0]])
    batch = on_device(batch, task.device)
    trials = {
        key: copy.deepcopy(network).to(task.device, memory_format=found).train()  # type: ignore[call-overload]
        for key, found in MEMORY_FORMATS.items()
    }
    times: dict[str, list[float]] = {key: [] for key in trials}
    for _ in range(1 + _STEPS):  # the first prepares
        for key, trial in trials.items():
            times[key].append(_time_step(trial, task, batch, precision))
    plain, last = (median(times[key][1:]) for key in ("contiguous", "channels_last"))
    return "channels_last" if last < _WORTH * plain else "contiguous"


def _time_step(network: nn.Module, task: Task, batch: dict[str, Any], precision: str) -> float:
    """Seconds of a loss and its gradient."""
    started = time.perf_counter()
    with autocast(task.device, precision):
        loss = task.loss(network, batch)
    loss.backward()
    if task.device.type == "cuda":
        torch.cuda.synchronize(task.device)
    return time.perf_counter() - started
