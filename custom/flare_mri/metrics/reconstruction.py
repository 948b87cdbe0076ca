# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of reconstructed volumes: PSNR as in FedMRI's code, NMSE and PSNR of volumes as in fastMRI's, SSIM."""

import numpy as np
from skimage.metrics import structural_similarity

from flare_mri.errors import InputError

_Pair = tuple[np.ndarray, np.ndarray]  # prediction and target of a slice
PSNR_CAP = 100.0  # dB, reported for an identical slice or volume, whose PSNR is infinite


class VolumeMetrics:
    r"""Gathers slices and scores them volume by volume; the mean over volumes is never a mean over batches.

    For a volume with targets $t_i$, predictions $p_i$ and $m = \max t$ over its added slices:

    - `psnr`: mean over slices of $10 \log_{10}(m^2 / \mathrm{MSE}(p_i, t_i))$, at most 100 dB, as in FedMRI's code
      (`util/metric.py`);
    - `volume_psnr`: $10 \log_{10}(m^2 / \mathrm{MSE}(p, t))$ over the whole volume, at most 100 dB, in fastMRI's code
      (`fastmri/evaluate.py`); lower than `psnr` where some slices are worse than others;
    - `nmse`: $\lVert p - t\rVert^2 / \lVert t\rVert^2$ over the whole volume, as in fastMRI's code; FedMRI's is a mean
      over slices;
    - `ssim`: mean over slices of skimage's `structural_similarity` with data range $m$ (7x7 uniform window), in both.

    A NaN in a prediction makes the scores NaN.

    Example:
        >>> metrics = VolumeMetrics()
        >>> target = np.random.default_rng(0).random((32, 32))
        >>> metrics.add("volume", target, target)
        >>> metrics.aggregate()["psnr"]
        100.0
    """

    def __init__(self) -> None:
        self._slices: dict[str | int, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._ranges: dict[str | int, float] = {}
        self._scored: dict[str | int, dict[str, float]] = {}

    def reset(self) -> None:
        """Forgets all slices."""
        self._slices.clear()
        self._ranges.clear()
        self._scored.clear()

    def add(
        self, volume: str | int, prediction: np.ndarray, target: np.ndarray, data_range: float | None = None
    ) -> None:
        """Adds one slice.

        Args:
            volume: which volume it is of.
            prediction: real [H, W], in the target's units.
            target: real [H, W] >= 0, H and W >= 7.
            data_range: m of the class's equations, the same for all slices of a volume; None: the largest target.

        Raises:
            InputError: the shapes differ or are not 2D, or SSIM's window does not fit in.
        """
        if prediction.shape != target.shape or target.ndim != 2 or min(target.shape) < 7:
            raise InputError(
                f"volume {volume!r}: expected prediction and target of one shape [H, W] of at least 7x7, got "
                f"{list(prediction.shape)} and {list(target.shape)}; give one slice at a time"
            )
        pair = (np.array(prediction, np.float64), np.array(target, np.float64))
        self._slices.setdefault(volume, []).append(pair)
        self._scored.pop(volume, None)
        if data_range is not None:
            self._ranges[volume] = data_range

    def aggregate(self) -> dict[str, float]:
        """Returns `nmse` (0 is best), `psnr` and `volume_psnr` in dB and `ssim` (1 is best), means over volumes.

        Raises:
            InputError: nothing was added, or a volume's targets are all 0.
        """
        if not self._slices:
            raise InputError("metrics: expected at least one slice, got none; add slices before aggregate()")
        scores = list(self.score_volumes().values())
        return {name: float(np.mean([found[name] for found in scores])) for name in scores[0]}

    def score_volumes(self) -> dict[str | int, dict[str, float]]:
        """The scores of each volume, whose means :meth:`aggregate` gives; in the order in which volumes were added.

        Raises:
            InputError: a volume's targets are all 0.
        """
        for volume, pairs in self._slices.items():
            if volume not in self._scored:
                self._scored[volume] = self._score(volume, pairs)
        return {volume: self._scored[volume] for volume in self._slices}

    def psnr_of_slices(self) -> dict[str | int, list[float]]:
        """The PSNR in dB of each slice, in the order in which a volume's were added.

        Raises:
            InputError: a volume's targets are all 0.
        """
        return {volume: self._psnr(volume, pairs) for volume, pairs in self._slices.items()}

    def _psnr(self, volume: str | int, pairs: list[_Pair]) -> list[float]:
        maximum = self._maximum(volume, pairs)
        return [_psnr(float(np.mean((prediction - target) ** 2)), maximum) for prediction, target in pairs]

    def _maximum(self, volume: str | int, pairs: list[_Pair]) -> float:
        maximum = self._ranges.get(volume, max(float(target.max()) for _, target in pairs))
        if maximum <= 0:
            raise InputError(f"volume {volume!r}: expected a target above 0, got none; leave empty slices out")
        return maximum

    def _score(self, volume: str | int, pairs: list[_Pair]) -> dict[str, float]:
        maximum = self._maximum(volume, pairs)
        error = sum(float(np.sum((prediction - target) ** 2)) for prediction, target in pairs)
        ssim = [structural_similarity(target, prediction, data_range=maximum) for prediction, target in pairs]
        return {
            "nmse": error / sum(float(np.sum(target**2)) for _, target in pairs),
            "psnr": float(np.mean(self._psnr(volume, pairs))),
            "ssim": float(np.mean(ssim)),
            "volume_psnr": _psnr(error / sum(target.size for _, target in pairs), maximum),
        }


def _psnr(mse: float, maximum: float) -> float:
    """dB; NaN stays NaN, an infinite error gives minus infinity."""
    with np.errstate(divide="ignore"):
        return min(float(10 * np.log10(np.float64(maximum) ** 2 / np.float64(mse))), PSNR_CAP)
