# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reconstruction of undersampled MR images as a learner's task (FedMRI, arXiv 2112.05752)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.acquisition import Acquisition
from flare_mri.datasets.batches import batches_in_order
from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.errors import InputError
from flare_mri.extras import MissingExtraError
from flare_mri.metrics.metric_table import KNOWN
from flare_mri.metrics.reconstruction import VolumeMetrics
from flare_mri.metrics.volume_scores import by_pseudonym
from flare_mri.networks import UnrolledNetwork, encoder_prefixes
from flare_mri.training.classical import CLASSICAL, score_classical
from flare_mri.training.data_parallel import mean_over_processes
from flare_mri.training.examples import COMMON, Keep, ReconstructionExamples
from flare_mri.training.held_out import HeldOutSnr
from flare_mri.training.losses import RECONSTRUCTION_LOSSES
from flare_mri.training.scanner_units import add_scores, normalise_magnitude
from flare_mri.training.self_supervision import SSDU, ssdu_loss
from flare_mri.training.task import Evaluation, Split, call_network, on_device

_EVALUATION_BATCH = 8
_LOG = logging.getLogger(__name__)


class ReconstructionTask:
    """A loss of normalised slices, mean squared error in the paper; NMSE, PSNR and SSIM on restored volumes.

    Args:
        data: the site's splits.
        config: the site's settings.
        device: where the site computes.
        loss: name of :data:`~flare_mri.training.losses.RECONSTRUCTION_LOSSES`, or "ssdu"; None: mse, and whether the
            scans suit it is seen in training, not here.

    Raises:
        InputError: the scans were measured undersampled, and the loss needs fully sampled ones.
    """

    def __init__(self, data: ReconstructionData, config: SiteConfig, device: torch.device, loss: str | None = None):
        self.site, self.device = config.site, device
        self.data, self.key_metric = data, data.key_metric
        self._name = loss or "mse"
        self._loss = None if loss == SSDU else RECONSTRUCTION_LOSSES[self._name]
        if loss:
            self._check_targets()
        self.spatial_size, self.orientations = data.shape, data.orientations
        self.slice_axis = config.data.find_slice_axis()
        self.acquisition: Acquisition | None = data.acquisition
        self.organ_sizes = None
        self.apart = True
        self._drawn = config.mask if config.mask.redraw else None
        self.batch_size = config.batch_size
        self.workers = config.workers

    def dataset(self, split: Split) -> Dataset:
        """The slices of a split; the test split where the site set none aside for validation."""
        return {"train": self.data.train, "validation": self.data.validation, "test": self.data.test}[split]

    def training_data(self, seed: int) -> Dataset:
        """The training slices, randomly transformed as job and site ask for."""
        return self.data.train.augment(self.data.augmentation, seed, self._drawn)

    def private_data(self, seed: int) -> tuple[Dataset, list[str]]:
        """The same: slices are chosen by no other; and the patient of each."""
        return self.training_data(seed), self.data.patients

    def loss(self, network: nn.Module, batch: dict[str, Any]) -> Tensor:
        """L_rec of normalised slices [B, 1, H, W], in the paper their mean squared error.

        Raises:
            InputError: the network's output has another shape, which PyTorch would broadcast; or as
                :func:`~flare_mri.training.self_supervision.ssdu_loss`.
        """
        count = len(batch["kspace" if self._loss is None else "target"])
        if self._loss is None:
            return mean_over_processes(ssdu_loss(network, batch), count)
        self._check_targets()
        output, target = reconstruct(network, batch), batch["target"]
        if output.shape != target.shape:
            raise InputError(
                f"network: expected an output of shape {list(target.shape)}, got {list(output.shape)}; set in_channels "
                "and out_channels to 1, and no deep supervision"
            )
        return mean_over_processes(self._loss(output, target, batch), count)

    def evaluate(self, network: nn.Module, split: Split) -> dict[str, float]:
        """`nmse`, `psnr`, `volume_psnr` (dB) and `ssim` of `network`: of each volume, then the mean over volumes.

        `held_out_snr` (dB) alone where the scans were measured undersampled.
        """
        return self.evaluate_volumes(network, split).metrics

    def evaluate_volumes(self, network: nn.Module, split: Split) -> Evaluation:
        """As :meth:`evaluate`, and of each volume."""
        network.eval()
        metrics: VolumeMetrics | HeldOutSnr
        if self.data.undersampled:
            metrics = self._predict_held_out(network, split)
        else:
            metrics = VolumeMetrics()
            for batch, output in self._outputs(network, split):
                add_scores(metrics, batch, output)
        return self._evaluation(metrics)

    def baselines(self, classical: bool, keep: Keep | None = None) -> dict[str, Evaluation]:
        """Test scores of the zero-filled input, and of classical reconstructions; without SigPy the log says so."""
        found = {}
        metrics: VolumeMetrics | HeldOutSnr
        if not self.data.undersampled:
            metrics = VolumeMetrics()
            for batch in self._batches("test"):
                add_scores(metrics, batch, batch["image"])
            found["zero_filled"] = self._evaluation(metrics)
        for name, entry in CLASSICAL.items() if classical else ():
            examples = ReconstructionExamples(self.data.places)
            try:
                metrics, weight = score_classical(self.data, name, examples)
            except MissingExtraError as error:
                _LOG.warning("site %r: left out: %s", self.site, error)
                continue
            if keep is not None:
                keep(f"examples-{name}.npz", {**examples.choose(), "method": np.array(entry.title)})
            found[name] = self._evaluation(metrics)
            metric = KNOWN[self.key_metric]
            score = metric.quantity(found[name].metrics[metric.key])
            _LOG.info("site %r: %s, weight %g: %s %s", self.site, entry.title, weight, metric.name, score)
        return found

    def fingerprint(self) -> str:
        """That of the data and their division."""
        return self.data.fingerprint()

    def examples(self, network: nn.Module, count: int = COMMON) -> dict[str, np.ndarray]:
        """Some test slices, as :meth:`~flare_mri.training.examples.ReconstructionExamples.choose` gives them, and
        bottleneck `features` [M, C] of all."""
        examples = ReconstructionExamples(self.data.places)
        network.eval()
        with _bottleneck_features(network) as features:
            for batch, output in self._outputs(network, "test"):
                examples.add(batch, output)
        return examples.choose(count) | ({"features": np.concatenate(features)} if features else {})

    def _evaluation(self, metrics: VolumeMetrics | HeldOutSnr) -> Evaluation:
        volumes = by_pseudonym(self.site, self.data.volume_names, metrics.score_volumes())  # type: ignore[arg-type]
        return Evaluation(metrics.aggregate(), volumes)

    def _check_targets(self) -> None:
        if self._loss and self.data.undersampled:
            raise InputError(
                f"site {self.site!r}: expected fully sampled scans for loss {self._name}, got undersampled ones; train "
                f"with --loss {SSDU}, or leave them out by data.include"
            )

    def _predict_held_out(self, network: nn.Module, split: Split) -> HeldOutSnr:
        """How well a network that sees a part of the samples predicts the others; `ssdu` admits no other kind."""
        assert isinstance(network, UnrolledNetwork)
        scores = HeldOutSnr()
        for batch in self._batches(split):
            batch = on_device(batch, self.device)
            seen, held_out = scores.split(batch)
            kspace = batch["kspace"] * seen
            with torch.inference_mode():
                maps = network.find_sensitivities(kspace, seen, batch.get("sensitivities"))
                scores.add(batch, held_out, network.run_cascades(kspace, seen, maps)[-1], maps)
        return scores

    def _batches(self, split: Split) -> DataLoader:
        dataset = self.dataset(split)
        batches = batches_in_order(dataset, _EVALUATION_BATCH)
        return DataLoader(dataset, batch_sampler=batches, num_workers=self.workers)

    def _outputs(self, network: nn.Module, split: Split) -> Any:
        for batch in self._batches(split):
            batch = on_device(batch, self.device)
            with torch.inference_mode():
                yield batch, reconstruct(network, batch)


def reconstruct(network: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Run a network on the entries of a batch that it asks for; normalised magnitude [B, 1, H, W].

    Raises:
        InputError: the network gives something else than one tensor.
    """
    output = call_network(network, batch)
    if "kspace" not in getattr(network, "sample_keys", ()):
        return output
    return normalise_magnitude(batch, output)


@contextmanager
def _bottleneck_features(network: nn.Module) -> Iterator[list[np.ndarray]]:
    """Collect the spatial means [B, C] of the bottleneck while the network runs; none where no encoder is known."""
    prefixes = encoder_prefixes(network)
    features: list[np.ndarray] = []
    if not prefixes:
        yield features
        return

    def collect(module: nn.Module, inputs: Any, outputs: Any) -> None:
        bottleneck = outputs if isinstance(outputs, Tensor) else outputs[-1]
        features.append(bottleneck.mean(dim=(-2, -1)).cpu().numpy())

    handle = network.get_submodule(prefixes[-1]).register_forward_hook(collect)
    try:
        yield features
    finally:
        handle.remove()
