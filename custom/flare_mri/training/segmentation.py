# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of an organ as a learner's task (IOP-FL, arXiv 2204.08467)."""

from typing import Any

import numpy as np
import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.acquisition import Acquisition
from flare_mri.datasets.segmentation import CLASSES, SegmentationData, SegmentationDataset
from flare_mri.errors import InputError
from flare_mri.metrics.segmentation import TEST_BATCH, SegmentationMetrics
from flare_mri.training.task import Split, call_network, on_device
from flare_mri.transforms.neighbours import CHANNELS

_EVALUATION_BATCH = 16


class SegmentationTask:
    r"""Soft Dice over softmax classes; the paper's slice Dice, and Dice and HD95 (mm) of whole volumes.

    The loss is the published one: $1 - \frac{1}{C} \sum_c (2 \sum p_c y_c + \epsilon) / (\sum p_c + \sum y_c +
    \epsilon)$, sums over *all pixels of a batch*, both classes, $\epsilon = 10^{-5}$.

    Args:
        data: the site's splits.
        config: the site's settings.
        device: where the site computes.
    """

    key_metric = "slice_dice"

    def __init__(self, data: SegmentationData, config: SiteConfig, device: torch.device):
        self.data = data
        self.device = device
        self.spatial_size, self.orientations = data.shape, data.orientations
        self.slice_axis = config.data.find_slice_axis()
        self.acquisition: Acquisition | None = None
        self.site = config.site
        self.batch_size = config.batch_size
        self.workers = config.workers
        self._loss = DiceLoss(softmax=True, to_onehot_y=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)

    def dataset(self, split: Split) -> Dataset:
        """The slices of a split; the test split where the site set none aside for validation."""
        return self._split(split)

    def training_data(self, seed: int) -> Dataset:
        """The training slices, randomly transformed as job and site ask for."""
        return self.data.train.augment(self.data.augmentation, seed)

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        """Soft Dice loss of a batch, in [0, 1]."""
        return self._loss(segment(network, batch), batch["label"])

    def evaluate(self, network: nn.Module, split: Split) -> dict[str, float]:
        """`slice_dice`, `dice` and `hd95` of `network`; volumes are the slices with label, see the metrics.

        Raises:
            InputError: the site's slices have no labels.
        """
        dataset = self._split(split)
        network.eval()
        return score(dataset, self._predict(network, dataset))

    def baselines(self, classical: bool) -> dict[str, dict[str, float]]:
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

    def examples(self, network: nn.Module, count: int = 2) -> dict[str, np.ndarray]:
        """Some test slices for the site's own report.

        Returns:
            `input` (centre channel, z-scored, float32), `output` (predicted labels) and `target` (labels; both uint8),
            [N, H, W], with `volume` and `slice` [N]; no `target` where the site has no labels.
        """
        places = _choose_shown(self.data.test, count)
        network.eval()
        return self._pictures(self.data.test, places, self._predict(network, Subset(self.data.test, places)))

    def examples_of(self, predictions: np.ndarray, count: int = 2) -> dict[str, np.ndarray]:
        """As `examples`, of labels [N, H, W] predicted for all slices of an outside site."""
        places = _choose_shown(self.data.outside, count)
        return self._pictures(self.data.outside, places, np.asarray(predictions, np.uint8)[places])

    def _pictures(
        self, dataset: SegmentationDataset, places: list[int], predictions: np.ndarray
    ) -> dict[str, np.ndarray]:
        items = [dataset[place] for place in places]
        arrays = {
            "input": np.stack([item["image"][1].numpy() for item in items]),
            "output": predictions,
            "volume": np.array([item["volume"] for item in items]),
            "slice": np.array([item["slice"] for item in items]),
        }
        if dataset.labelled:
            arrays["target"] = np.stack([item["label"][0].numpy().astype(np.uint8) for item in items])
        return arrays

    def _split(self, split: Split) -> SegmentationDataset:
        return {"train": self.data.train, "validation": self.data.validation, "test": self.data.test}[split]

    def _predict(self, network: nn.Module, dataset: Dataset) -> np.ndarray:
        labels = []
        for batch in DataLoader(dataset, batch_size=_EVALUATION_BATCH, num_workers=self.workers):
            with torch.inference_mode():
                logits = segment(network, on_device(batch, self.device))
            labels.append(logits.argmax(1).to(torch.uint8).cpu().numpy())
        return np.concatenate(labels)


def _choose_shown(dataset: SegmentationDataset, count: int) -> list[int]:
    return np.unique(np.linspace(0, len(dataset) - 1, count + 2, dtype=int)[1:-1]).tolist()


def segment(network: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Runs a network on the entries of a batch that it asks for, by default images [B, 3, H, W]; logits [B, 2, H, W].

    Raises:
        InputError: the network does not give two classes for each pixel.
    """
    logits, images = call_network(network, batch), batch["image"]
    expected = (len(images), CLASSES, *images.shape[2:])
    if tuple(logits.shape) != expected:
        raise InputError(
            f"network: expected logits {list(expected)} (background and organ), got {list(logits.shape)}; set its "
            f"out_channels to {CLASSES}, give it in_channels {CHANNELS}, and no deep supervision"
        )
    return logits


def score(dataset: SegmentationDataset, predictions: np.ndarray, batch: int = TEST_BATCH) -> dict[str, float]:
    """Scores predicted labels of a whole data set.

    Args:
        dataset: with labels.
        predictions: 0 and 1, [N, H, W], in the order of the data set.
        batch: slices in a batch of the slice Dice; `OUTSIDE_BATCH` at an outside site.

    Returns:
        `slice_dice`, `dice` and `hd95`.

    Raises:
        InputError: no labels, or not one prediction for each slice.
    """
    if not dataset.labelled or len(predictions) != len(dataset):
        wanted = "labels to score with" if not dataset.labelled else f"predictions of {len(dataset)} slices"
        got = "none" if not dataset.labelled else str(len(predictions))
        raise InputError(f"score: expected {wanted}, got {got}; give them or leave the score out")
    metrics = SegmentationMetrics(batch)
    for place, prediction in enumerate(predictions):
        item = dataset[place]
        volume = item["volume"]
        metrics.add(volume, item["slice"], prediction, item["label"][0].numpy(), dataset.spacing(volume))
    return metrics.aggregate()
