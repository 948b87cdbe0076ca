# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The one table of metrics that the report knows, and how numbers are written for people.

Everything else in this package asks this table, so that reconstruction and segmentation use the same code.
A number in a results file whose key does not stand here is kept in the file and not shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

MISSING = "–"


@dataclass(frozen=True)
class Metric:
    """One way to score a site's images.

    Attributes:
        key: Name in results.json.
        task: "reconstruction" or "segmentation".
        name: Name for people.
        unit: "dB", "mm" or "" (no unit).
        higher_is_better: False for errors and distances.
        digits: Decimal places shown.
        negligible: A difference below this is called "level" in the summary, never a win.
        meaning: One plain sentence for readers who do not know the metric.
    """

    key: str
    task: str
    name: str
    unit: str
    higher_is_better: bool
    digits: int
    negligible: float
    meaning: str

    @property
    def direction(self) -> str:
        """The good direction, in words."""
        return "higher is better" if self.higher_is_better else "lower is better"

    @property
    def heading(self) -> str:
        """Name with unit, e.g. ``PSNR (dB)``."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def number(self, value: float | None) -> str:
        """The bare number, e.g. ``28.16``; a dash where there is none."""
        return MISSING if value is None else f"{value:.{self.digits}f}".replace("-", "−")

    def quantity(self, value: float | None) -> str:
        """The number with its unit, e.g. ``28.16 dB``."""
        return self.number(value) + (f" {self.unit}" if self.unit and value is not None else "")

    def deviation(self, value: float | None) -> str:
        """A standard deviation to put behind a number, e.g. `` ± 0.12``; nothing where there is none."""
        return "" if value is None else f" ± {value:.{self.digits}f}"

    def difference(self, value: float | None, reference: float | None) -> str:
        """``value - reference`` with sign and unit, e.g. ``+4.37 dB``; a dash where either is missing."""
        if value is None or reference is None:
            return MISSING
        text = f"{value - reference:+.{self.digits}f}"
        if not float(text):  # neither +0.00 nor -0.00 says anything
            text = text[1:]
        return text.replace("-", "−") + (f" {self.unit}" if self.unit else "")

    def gain(self, value: float, reference: float) -> float:
        """Gain of ``value`` over ``reference``: positive is better whatever the direction."""
        return value - reference if self.higher_is_better else reference - value


HELD_OUT_SNR = "held_out_snr"
"""Key of the metric of scans without a target."""

METRICS: tuple[Metric, ...] = (
    Metric("psnr", "reconstruction", "PSNR", "dB", True, 2, 0.1,
           "peak signal-to-noise ratio: how close the reconstructed image is to the fully sampled one. "
           "3 dB more means half the squared error."),
    Metric("dice", "segmentation", "Dice", "", True, 3, 0.005,
           "overlap of the outline drawn by the network with the expert's, over whole volumes: "
           "1 is full agreement, 0 is none."),
    Metric("slice_dice", "segmentation", "Slice Dice", "", True, 3, 0.005,
           "overlap of the two outlines on every slice alone, mean of organ and background, as in the IOP-FL paper: "
           "1 is full agreement, marking nothing has nearly 0.5."),
    Metric("ssim", "reconstruction", "SSIM", "", True, 3, 0.005,
           "structural similarity: how well local structure and contrast are kept; 1 is identical."),
    Metric("nmse", "reconstruction", "NMSE", "", False, 4, 0.0005,
           "normalised mean squared error: the error's energy as a fraction of the image's; 0 is identical."),
    Metric("volume_psnr", "reconstruction", "Volume PSNR", "dB", True, 2, 0.1,
           "PSNR of whole volumes, as fastMRI's code takes it; PSNR alone is the mean over slices, as in FedMRI's."),
    Metric(HELD_OUT_SNR, "reconstruction", "Held-out SNR", "dB", True, 2, 0.1,
           "how well k-space samples that the network was not given are predicted from its image, of scans that were "
           "measured undersampled: 0 is as if nothing was predicted, noise sets the ceiling."),
    Metric("hd95", "segmentation", "HD95", "mm", False, 1, 0.1,
           "95 % Hausdorff distance: how far apart the two outlines lie almost everywhere; 0 mm is identical. "
           "A volume in which nothing is marked counts with its diagonal."),
    Metric("false_slices", "segmentation", "False slices", "", False, 3, 0.005,
           "share of the slices without an organ on which something is marked; 0 is none."),
)  # fmt: skip
"""In order of importance: the first one that a results file holds is its main metric."""

KNOWN = {metric.key: metric for metric in METRICS}

OF_AN_ORGAN = ("dice", "hd95")
"""Metrics that a site with several organs has for each of them too, as ``dice.liver``."""


def find_metric(key: str) -> Metric | None:
    """The metric of a key, of one organ where the key says so; None for one that is not known."""
    name, _, organ = key.partition(".")
    metric = KNOWN.get(name)
    if metric is None or not organ:
        return metric
    return replace(metric, key=key, name=f"{metric.name} {organ}") if name in OF_AN_ORGAN else None


def metrics_in(keys: Iterable[str]) -> list[Metric]:
    """The known metrics among ``keys``, the main one first; those of single organs after all others."""
    present = set(keys)
    organs = [metric for key in sorted(present) if "." in key and (metric := find_metric(key)) is not None]
    return [metric for metric in METRICS if metric.key in present] + organs


def format_bytes(count: float) -> str:
    """Decimal units as networks are billed in: ``18.9 MB``."""
    if count < 1000:
        return f"{count:.0f} B"
    unit, scale = next((u, s) for u, s in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)) if count < 999.5 * s or u == "GB")
    return f"{count / scale:.{0 if count >= 100 * scale else 1}f} {unit}"


def format_seconds(seconds: float) -> str:
    """``0.42 s``, ``12.3 s``, ``4 min 12 s`` or ``3 h 05 min``."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"
