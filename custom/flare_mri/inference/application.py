# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A model with the scans it is to be applied to, and the result of one scan."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from flare_mri.io.scan import Scan


@dataclass(frozen=True)
class Wanted:
    """What is asked for beside a NIfTI of each scan.

    Attributes:
        undersampled: for reconstruction, see :class:`~flare_mri.inference.reconstruction.Reconstructor`.
        extra: further images of raw scans, see :class:`~flare_mri.inference.raw_reconstruction.RawReconstructor`.
        dicom: DICOM where the scan is DICOM, or raw.
        overlay: with `dicom`, of labels also images with outlines.
        patient: ID in DICOM of raw scans; empty: the one that each header names.
    """

    undersampled: bool = False
    extra: tuple[str, ...] = ()
    dicom: bool = False
    overlay: bool = False
    patient: str = ""


@dataclass(frozen=True)
class Result:
    """One scan done.

    Attributes:
        content: of the file to write.
        text: what a line of progress says of it.
        pictures: one slice [H, W] to look at, upright where the scan says how the patient lies: `input` and `output`,
            with `target` where it is known.
        scores: mean metrics, where the scan was fully sampled.
        more: contents of further files, by an ending of :attr:`Application.more_endings`, which is a folder's where a
            file's name follows it after a slash.
        warnings: how the scan differs from what the model knows, or why not to trust the result, a line each.
        predicted_dice: of labels, see :mod:`flare_mri.inference.quality`.
        title: of the scan for people, such as patient ID and series description of DICOM; empty: its name serves.
        shown: which slice the pictures are of, in words.
    """

    content: bytes
    text: str
    pictures: Mapping[str, np.ndarray]
    scores: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, bytes] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    predicted_dice: float | None = None
    title: str = ""
    shown: str = ""


class Application(ABC):
    """A model with the scans it is to be applied to.

    Attributes:
        ending: of the files to write, after a scan's name.
        more_endings: of further files and folders of each scan.
        colours: of the classes of outputs that are labels, by the organ's name; empty: outputs are images.
        calibrated: whether a predicted Dice is one of the model's own curve, not of another organ's.

    Args:
        place: file or folder of the scans; None: the volumes that the site's own settings name. It is looked at when
            the scans are first asked for.
    """

    ending: ClassVar[str]
    more_endings: tuple[str, ...] = ()
    colours: Mapping[str, str] = {}
    calibrated = True

    def __init__(self, place: Path | None):
        self._place = place

    @cached_property
    def scans(self) -> list[Scan]:
        """What the model is to be applied to; no voxel is read.

        Raises:
            InputError: there is none.
        """
        return self._find(self._place)

    @property
    def names(self) -> list[str]:
        """Of the scans."""
        return [scan.name for scan in self.scans]

    def at(self, place: Path) -> "Application":
        """The same model with the scans at another place."""
        other = copy.copy(self)
        other.__dict__.pop("scans", None)
        other._place = place
        return other

    @abstractmethod
    def _find(self, place: Path | None) -> list[Scan]:
        """Lists scans as :attr:`scans`."""

    @abstractmethod
    def apply(self, number: int) -> Result:
        """Reads scan `number` and applies the model to it.

        Raises:
            InputError: a scan that cannot be read, or that the model does not know.
        """
