# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Tasks as a learner sees them: data, loss and metrics."""

import copy
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from flare_mri.datasets.acquisition import Acquisition
from flare_mri.datasets.batches import ShuffledBatches, batches_in_order, shapes_of
from flare_mri.datasets.organ_sizes import OrganSizes
from flare_mri.errors import InputError
from flare_mri.training.data_parallel import ProcessShare, process_count
from flare_mri.training.examples import Keep

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Evaluation(NamedTuple):
    """Metrics of a network on a split: means by name, which a site tells, and those of each volume, which it keeps."""

    metrics: dict[str, float]
    volumes: dict[str, dict[str, float]]


class Task(Protocol):
    """A task at one site: reconstruction, segmentation.

    Attributes:
        site: name of the site, for messages.
        key_metric: the metric that picks the best personal model; higher is better.
        batch_size: training batch size of the site.
        workers: loader processes of the site.
        device: where the site trains.
        spatial_size: (H, W) of its slices.
        slice_axis: axis along which its slices lie in a volume.
        orientations: axis codes of its volumes as the network sees them, where that is known.
        acquisition: of its scans, for reconstruction; else None.
        organ_sizes: in its training labels, for segmentation, where they are known; else None.
        apart: whether a training sample is of one slice and no other has a part of it.
    """

    site: str
    key_metric: str
    batch_size: int
    workers: int
    device: torch.device
    spatial_size: tuple[int, int]
    slice_axis: int
    orientations: tuple[str, ...]
    acquisition: Acquisition | None
    apart: bool

    @property
    def organ_sizes(self) -> OrganSizes | None: ...

    def dataset(self, split: Split) -> Dataset:
        """The slices of a split."""

    def training_data(self, seed: int) -> Dataset:
        """The training slices, randomly transformed where the job or the site asks for it; `seed` draws how."""

    def private_data(self, seed: int) -> tuple[Dataset, list[str]]:
        """As `training_data`, but that no sample depends on another patient's; and the patient of each sample."""

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        """The task's own loss of one training batch, a scalar; of the parts that all processes of a site have of it."""

    def evaluate(self, network: nn.Module, split: Split) -> dict[str, float]:
        """Metrics of `network` on a split, by name."""

    def evaluate_volumes(self, network: nn.Module, split: Split) -> Evaluation:
        """The same, and those of each volume by its :func:`~flare_mri.metrics.volume_scores.pseudonym`."""

    def baselines(self, classical: bool, keep: Keep | None = None) -> dict[str, Evaluation]:
        """Test scores of what learns nothing, by its name in results.json; empty where there is no such thing.

        Args:
            classical: whether reconstructions that take a while are among them.
            keep: takes their examples for the site's own report, which stay at the site.
        """

    def fingerprint(self) -> str:
        """Hex SHA-256 that changes with the content of the site's data and with what is for training and what for
        testing, not with where the files lie; it stays at the site."""

    def examples(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Arrays for the site's own report; they stay at the site."""


def training_loader(task: Task, seed: int) -> DataLoader:
    """Shuffled batches of the training split; their order and random transforms depend on `seed` alone.

    A batch holds slices of one shape. The last, smaller batch of a shape is dropped, unless it is the only one. Of
    several processes each gets its part of every batch.

    Raises:
        InputError: the site has no training slice.
    """
    check_trains(task)
    data, generator = task.training_data(seed), torch.Generator().manual_seed(seed)
    batches = ShuffledBatches(shapes_of(data), task.batch_size, generator)
    return DataLoader(
        data,
        batch_sampler=batches if process_count() == 1 else ProcessShare(batches),
        num_workers=task.workers,
        generator=generator,
    )


def on_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Move the tensors of a batch to `device`."""
    return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}


def call_network(network: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Run a network on the entries of a batch that it declares as ``sample_keys``; on ``image`` where it declares none.

    Raises:
        InputError: it gives something else than one tensor, as with deep supervision.
    """
    keys: tuple[str, ...] = getattr(network, "sample_keys", ("image",))
    output = network(*(batch[key] for key in keys))
    if not isinstance(output, Tensor):
        raise InputError(
            f"network: expected one tensor, got a {type(output).__name__}, as deep supervision gives it; set its "
            "arguments so that it gives its last output alone, or choose another network"
        )
    return output


def check_trains(task: Task) -> int:
    """Number of the site's training slices.

    Raises:
        InputError: there is none.
    """
    count = len(task.dataset("train"))  # type: ignore[arg-type]
    if not count:
        raise InputError(
            f"site {task.site}: expected training slices, got none; check `data` and `split` in its site.yaml, or "
            "leave this site out of the training job (--outside for IOP-FL)"
        )
    return count


def check_takes_images(network: nn.Module, task: Task) -> None:
    """See that a network can train on a site's images and evaluate them: what does not fit is found before a round.

    Args:
        network: on the task's device; a copy of it runs, in both modes, on a batch of every shape.
        task: of the site.

    Raises:
        InputError: the site has no training slice, or the network cannot take its images.
    """
    check_trains(task)
    dataset = task.training_data(seed=0)
    shapes = shapes_of(dataset)
    first = {shapes[places[0]]: places for places in reversed(batches_in_order(dataset, task.batch_size))}
    trial = copy.deepcopy(network)
    try:
        with torch.no_grad():
            for places in first.values():
                batch = on_device(default_collate([dataset[place] for place in places]), task.device)
                for training in (True, False):
                    task.loss(trial.train(training), batch)
    except Exception as e:  # whatever a foreign network raises, the images did not suit it
        told = " ".join(str(e).split())
        raise InputError(f"site {task.site}: the job's network cannot take this site's images: {told}") from e


Abort = Callable[[], bool]


class AbortedError(Exception):
    """The job was aborted while the site was training."""
