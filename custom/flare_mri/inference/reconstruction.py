# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reconstruction of new scans: HDF5 files with ``reconstruction`` [S, H, W], as fastMRI's submissions have it."""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader

from flare_mri.config.site import SiteConfig
from flare_mri.datasets.reconstruction import ReconstructionDataset
from flare_mri.datasets.volumes import find_sources, read_volume
from flare_mri.errors import InputError
from flare_mri.inference.personal_model import PersonalModel
from flare_mri.inference.result import Result
from flare_mri.io.formats import RECONSTRUCTION, check_task
from flare_mri.io.orientation import orientation
from flare_mri.metrics.reconstruction import VolumeMetrics
from flare_mri.networks import sample_keys
from flare_mri.training.build import resolve_device
from flare_mri.training.reconstruction import denormalised, reconstruct
from flare_mri.training.task import on_device
from flare_mri.transforms.masks import make_mask

_BATCH = 8


class Reconstructor:
    """Reconstructs scans as the model did at the site.

    Args:
        model: of a reconstruction job.
        config: the site's settings: format, matrix, mask, device.
        scans: folder of scans in the site's format; None for the volumes that the site's own settings name.
        undersampled: the scans are already undersampled, and their images zero-filled: nothing is masked or scored.
            Otherwise they are taken as fully sampled, undersampled with the site's mask, and scored.

    Raises:
        InputError: data of another task, no scan, a state that does not fit the network, or undersampled scans for a
            network that needs the k-space they were measured in.
    """

    ending = ".h5"
    outlined = False

    def __init__(self, model: PersonalModel, config: SiteConfig, scans: Path | None = None, undersampled: bool = False):
        check_task(config.data.format, RECONSTRUCTION)
        if scans is not None:
            config = replace(config, data=replace(config.data, root=scans))
        self._data, self._mask, self._undersampled = config.data, config.mask, undersampled
        self._sources = find_sources(config)
        self.names = [source.name for source in self._sources]
        self._device = resolve_device(config.device, config.site, config.file)
        self._model = model
        self._network = model.build().to(self._device)
        self._keys = sample_keys(model.network) or ("input",)
        if undersampled and "mask" in self._keys:
            raise InputError(
                "undersampled: expected a network that works on images, got one that needs the mask of each scan; "
                "apply it to fully sampled scans"
            )

    def apply(self, number: int) -> Result:
        """Reconstruction of all slices of one scan, with scores where it is fully sampled.

        Raises:
            InputError: a scan that cannot be read, of another orientation or matrix, or a mask that does not fit it.
        """
        source = self._sources[number]
        volume = read_volume(source, self._data)
        shape = volume.shape[1], volume.shape[2]
        where = source.files[0] if source.files else source.name
        self._model.check_knows(where, shape, orientation(source.files))
        mask = np.ones(shape, bool) if self._undersampled else make_mask(self._mask, shape)
        places = [(0, index) for index in range(len(volume))]
        loader = DataLoader(ReconstructionDataset([volume], mask, places, self._keys), batch_size=_BATCH)
        zero_filled, outputs = [], []
        for batch in loader:
            batch = on_device(batch, self._device)
            with torch.inference_mode():
                outputs.append(denormalised(batch, reconstruct(self._network, batch)))
            zero_filled.append(denormalised(batch, batch["input"]))
        images = {"zero_filled": np.concatenate(zero_filled), "reconstruction": np.concatenate(outputs)}
        scores = {} if self._undersampled else {name: _scores(image, volume) for name, image in images.items()}
        middle = len(volume) // 2
        pictures = {"input": images["zero_filled"][middle], "output": images["reconstruction"][middle]}
        if scores:
            pictures["target"] = volume[middle]
        return Result(
            _hdf5(images, self._attributes(source.name)),
            _text(len(volume), scores),
            pictures,
            scores.get("reconstruction", {}),
        )

    def _attributes(self, name: str) -> dict[str, str]:
        """What the file says of itself."""
        model = self._model
        mask = "as measured" if self._undersampled else " ".join(map(str, asdict(self._mask).values()))
        return {"scan": name, "model": f"{model.job}, {model.site}", "network": json.dumps(model.network), "mask": mask}


def _scores(image: np.ndarray, target: np.ndarray) -> dict[str, float]:
    metrics = VolumeMetrics()
    for prediction, truth in zip(image, target, strict=True):
        metrics.add(0, prediction, truth)
    return metrics.aggregate()


def _text(count: int, scores: dict[str, dict[str, float]]) -> str:
    if not scores:
        return f"{count} slices"
    before, after = scores["zero_filled"], scores["reconstruction"]
    gain = f"PSNR {after['psnr']:.2f} dB (zero-filled {before['psnr']:.2f})"
    return f"{count} slices, {gain}, SSIM {after['ssim']:.3f} ({before['ssim']:.3f})"


def _hdf5(images: dict[str, np.ndarray], attributes: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        file.attrs.update(attributes)
        for name, image in images.items():
            file[name] = image.astype(np.float32)
    return target.getvalue()
