# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The data of several sites in one place: the centralised run that federated ones are compared with."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset

from flare_mri.errors import InputError
from flare_mri.training.examples import Keep, join_examples
from flare_mri.training.task import Evaluation, Split, Task


class PooledTask:
    """Several sites' tasks as one: training slices together, metrics as the mean over the sites.

    Args:
        site: name of the one site that holds all.
        tasks: the sites' own tasks, of one kind.
        batch_size: training batch size.
        workers: loader processes.

    Raises:
        InputError: some have fully sampled scans and some undersampled ones.
    """

    def __init__(self, site: str, tasks: Sequence[Task], batch_size: int, workers: int = 0):
        self.site, self.tasks, self.batch_size, self.workers = site, list(tasks), batch_size, workers
        other = next((task for task in tasks if task.key_metric != tasks[0].key_metric), None)
        if other is not None:
            raise InputError(
                f"site {other.site!r}: expected fully sampled or undersampled scans as at {tasks[0].site!r}, to pool "
                "them, got the other kind; leave it out of the centralised run"
            )
        self.key_metric, self.device, self.spatial_size = tasks[0].key_metric, tasks[0].device, tasks[0].spatial_size
        self.apart = all(task.apart for task in tasks)
        self.slice_axis, self.acquisition = tasks[0].slice_axis, tasks[0].acquisition
        self.organ_sizes = None  # of sites whose scanners may measure in other grids
        self.orientations = tuple(sorted({codes for task in tasks for codes in task.orientations}))

    def dataset(self, split: Split) -> Dataset:
        """The slices of all sites."""
        return ConcatDataset([task.dataset(split) for task in self.tasks])

    def training_data(self, seed: int) -> Dataset:
        """The training slices of all sites, randomly transformed as each site's are."""
        return ConcatDataset([task.training_data(seed + number) for number, task in enumerate(self.tasks)])

    def private_data(self, seed: int) -> tuple[Dataset, list[str]]:
        """The samples of all sites, and their patients: those of one name at two sites are two."""
        parts = [task.private_data(seed + number) for number, task in enumerate(self.tasks)]
        patients = [f"{task.site}/{name}" for task, (_, names) in zip(self.tasks, parts, strict=True) for name in names]
        return ConcatDataset([data for data, _ in parts]), patients

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        """The task's own loss."""
        return self.tasks[0].loss(network, batch)

    def evaluate(self, network: nn.Module, split: Split) -> dict[str, float]:
        """Mean over the sites, as the tables of federated runs take it."""
        return self.evaluate_volumes(network, split).metrics

    def evaluate_volumes(self, network: nn.Module, split: Split) -> Evaluation:
        """As :meth:`evaluate`, and of each volume of all sites."""
        return _pool([task.evaluate_volumes(network, split) for task in self.tasks])

    def baselines(self, classical: bool, keep: Keep | None = None) -> dict[str, Evaluation]:
        """Means over the sites, and of each volume of all."""
        examples: dict[str, list[dict[str, np.ndarray]]] = {}
        found = [task.baselines(classical, lambda n, a: examples.setdefault(n, []).append(a)) for task in self.tasks]
        if keep is not None:
            for name, parts in examples.items():
                keep(name, join_examples(parts))
        return {name: _pool([scores[name] for scores in found]) for name in found[0] if all(name in s for s in found)}

    def fingerprint(self) -> str:
        """Hex SHA-256 of the sites' own, in their order."""
        return hashlib.sha256(" ".join(task.fingerprint() for task in self.tasks).encode()).hexdigest()

    def examples(self, network: nn.Module) -> dict[str, np.ndarray]:
        """The examples of all sites, one after the other."""
        return join_examples([task.examples(network) for task in self.tasks])


def _pool(found: Sequence[Evaluation]) -> Evaluation:
    volumes = {name: scores for one in found for name, scores in one.volumes.items()}
    return Evaluation(_mean([one.metrics for one in found]), volumes)


def _mean(metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of the scores that all sites have."""
    names = [name for name in metrics[0] if all(name in values for values in metrics)]
    return {name: float(np.mean([values[name] for values in metrics])) for name in names}
