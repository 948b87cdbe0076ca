# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of an organ as a learner's task (IOP-FL, arXiv 2204.08467)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from flare_mri.config.segmentation import IGNORED
from flare_mri.config.site import SiteConfig
from flare_mri.datasets.acquisition import Acquisition
from flare_mri.datasets.organ_sizes import OrganSizes
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.datasets.segmentation_slices import SegmentationDataset
from flare_mri.errors import InputError
from flare_mri.metrics.segmentation import TEST_BATCH, SegmentationMetrics
from flare_mri.metrics.volume_scores import by_pseudonym
from flare_mri.training.examples import COMMON, Keep, choose_slices, tell_places
from flare_mri.training.segmentation_loss import SegmentationLoss
from flare_mri.training.task import Evaluation, Split

_EVALUATION_BATCH = 16


class SegmentationTask:
    """Segmentation of organs: slice Dice as in the paper, and Dice and HD95 (mm) of whole volumes.

    Args:
        data: the site's splits.
        config: the site's settings.
        device: where the site computes.
        loss: of :data:`~flare_mri.config.training.LOSSES`.
    """

    key_metric = "slice_dice"

    def __init__(self, data: SegmentationData, config: SiteConfig, device: torch.device, loss: str = "dice"):
        self.data = data
        self.device = device
        self.spatial_size, self.orientations = data.shape, data.orientations
        self.slice_axis = config.data.find_slice_axis()
        self.acquisition: Acquisition | None = None
        self.apart = False  # neighbours, or the whole of a patch, are in a sample
        self.site = config.site
        self.batch_size = config.batch_size
        self.workers = config.workers
        self._colours: dict[str, str] = getattr(config.data, "colours", {})  # a phantom has none
        self._loss = SegmentationLoss(loss, data.plan, data.organs.labelled)

    @property
    def organ_sizes(self) -> OrganSizes | None:
        """In the training labels, all of which are read for it."""
        return self.data.find_organ_sizes()

    def dataset(self, split: Split) -> Dataset:
        """The slices of a split; the test split where the site set none aside for validation."""
        return self._split(split)

    def training_data(self, seed: int) -> Dataset:
        """Samples of an epoch, randomly transformed as job and site ask for."""
        return self.data.epoch(seed)

    def private_data(self, seed: int) -> tuple[Dataset, list[str]]:
        """All slices or patches, where an epoch chooses among them by how many show an organ; and their patients."""
        return self.data.epoch(seed, balanced=False), self.data.patients()

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        """The loss of a batch of training."""
        loss: Tensor = self._loss(network(batch["image"]), batch["image"], batch["label"])
        return loss

    def evaluate(self, network: nn.Module, split: Split) -> dict[str, float]:
        """`slice_dice`, `dice` and `hd95` of `network` on the volumes of a split, see :func:`score`.

        Raises:
            InputError: the site's slices have no labels.
        """
        return self.evaluate_volumes(network, split).metrics

    def evaluate_volumes(self, network: nn.Module, split: Split) -> Evaluation:
        """As :meth:`evaluate`, and `dice` and `hd95` of each volume."""
        dataset = self._split(split)
        return self.score(dataset, self.data.pieces(dataset).classes(network, _EVALUATION_BATCH))

    def score(self, dataset: SegmentationDataset, predictions: np.ndarray, batch: int = TEST_BATCH) -> Evaluation:
        """Scores of predicted classes, see :func:`score`."""
        metrics = score(dataset, predictions, batch)
        return Evaluation(metrics.aggregate(), by_pseudonym(self.site, self.data.volume_names, metrics.score_volumes()))  # type: ignore[arg-type]

    def baselines(self, classical: bool, keep: Keep | None = None) -> dict[str, Evaluation]:
        """Nothing: there is no segmentation without a network.

        Raises:
            InputError: the job asks for classical ones.
        """
        if classical:
            raise InputError("training: classical: expected false for segmentation, got true; leave it out")
        return {}

    def fingerprint(self) -> str:
        """That of the data and their division."""
        return self.data.fingerprint()

    def examples(self, network: nn.Module, count: int = COMMON) -> dict[str, np.ndarray]:
        """Some test slices for the site's own report.

        Returns:
            `input` (centre channel, z-scored, float32), `output` (predicted classes) and `target` (classes; both
            uint8), [N, H, W], with `volume` and `slice` [N]; `score` (Dice of the slice), `rank` and `ranked` as of
            :func:`~flare_mri.training.examples.choose_slices`. Where the site has no labels there is neither `target`
            nor score. Of several organs their names, `organs` [O], and `colours` [O], empty where the site does not
            choose. How slices lie, as of :func:`~flare_mri.training.examples.tell_places`.
        """
        predictions = self.data.pieces(self.data.test).classes(network, _EVALUATION_BATCH)
        return self._pictures(self.data.test, predictions, count)

    def examples_of(self, predictions: np.ndarray, count: int = COMMON) -> dict[str, np.ndarray]:
        """As `examples`, of classes [N, H, W] predicted for all slices of an outside site."""
        return self._pictures(self.data.outside, np.asarray(predictions, np.uint8), count)

    def _pictures(self, dataset: SegmentationDataset, predictions: np.ndarray, count: int) -> dict[str, np.ndarray]:
        scores = np.full(len(dataset), np.nan)
        if dataset.labelled:
            metrics = score(dataset, predictions)
            scores = np.array([np.nan if dice is None else dice for dice in metrics.dice_of_slices()])
        places, ranks = choose_slices(scores, count)
        items = [dataset[place] for place in places]
        arrays = {
            "input": np.stack([item["image"][1].numpy() for item in items]),
            "output": predictions[places],
            "volume": np.array([item["volume"] for item in items]),
            "slice": np.array([item["slice"] for item in items]),
        }
        if len(self.data.plan.organs) > 1:
            arrays["organs"] = np.array(self.data.plan.organs)
            arrays["colours"] = np.array([self._colours.get(name, "") for name in self.data.plan.organs])
        if dataset.labelled:
            arrays["target"] = np.stack([dataset.truth(place) for place in places])
        of_slices = (dataset.volumes[item["volume"]].find_place(self.slice_axis) for item in items)
        return arrays | ranks | tell_places(list(of_slices))

    def _split(self, split: Split) -> SegmentationDataset:
        return {"train": self.data.train, "validation": self.data.validation, "test": self.data.test}[split]


def score(dataset: SegmentationDataset, predictions: np.ndarray, batch: int = TEST_BATCH) -> SegmentationMetrics:
    """Scores predicted classes of a whole data set; organs that the site does not label count as background.

    Args:
        dataset: with labels.
        predictions: classes [N, H, W], in the order of the data set.
        batch: slices in a batch of the slice Dice; `OUTSIDE_BATCH` at an outside site.

    Returns:
        The metrics, of all and of each volume.

    Raises:
        InputError: no labels, or not one prediction for each slice.
    """
    if not dataset.labelled or len(predictions) != len(dataset):
        wanted = "labels to score with" if not dataset.labelled else f"predictions of {len(dataset)} slices"
        got = "none" if not dataset.labelled else str(len(predictions))
        raise InputError(f"score: expected {wanted}, got {got}; give them or leave the score out")
    table = dataset.table
    metrics = SegmentationMetrics(batch, {table.organs[number - 1]: number for number in table.labelled})
    for place, prediction in enumerate(predictions):
        (number, index), truth = dataset.indices[place], dataset.truth(place)
        volume = dataset.volumes[number]
        known = truth != IGNORED
        metrics.add(number, volume.kept[index], prediction * known, truth * known, volume.spacing)
    return metrics
