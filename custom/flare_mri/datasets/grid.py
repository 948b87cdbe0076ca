# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""From a volume's own grid to the network's slices and back."""

from dataclasses import dataclass

import numpy as np
from skimage.transform import resize

from flare_mri.errors import InputError


@dataclass(frozen=True)
class Grid:
    """Where the slices that a network sees lie in the volume as it is stored.

    Attributes:
        shape: (S, H, W) of the stored volume, slice axis first.
        spacing: mm between voxels along these axes; (1, 1, 1) where the format does not know it.
        kept: numbers of the slices that are taken, in order.
        matrix: (h, w) of the network's slices.
        fit: `pad` centres the slice in the matrix, with zeros around it or its border cut off; `resize` scales it.
        axis: the slice axis in the file.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    kept: tuple[int, ...]
    matrix: tuple[int, int]
    fit: str = "pad"
    axis: int = 0

    @property
    def network_spacing(self) -> tuple[float, float, float]:
        """mm between slices, rows and columns of the network's grid."""
        if self.fit == "pad":
            return self.spacing
        slices, rows, columns = self.spacing
        return slices, rows * self.shape[1] / self.matrix[0], columns * self.shape[2] / self.matrix[1]

    def images(self, stored: np.ndarray) -> np.ndarray:
        """Brings slices of intensities, float [K, H, W] with 0 for what is not known, to float32 [K, h, w]."""
        if self.fit == "pad" or stored.shape[1:] == self.matrix:
            return self._centred(np.asarray(stored, np.float32))
        smaller = any(new < old for new, old in zip(self.matrix, stored.shape[1:], strict=True))
        scaled = [resize(image, self.matrix, order=1, anti_aliasing=smaller, mode="edge") for image in stored]
        return np.asarray(scaled, np.float32)

    def labels(self, stored: np.ndarray, name: str) -> np.ndarray:
        """Brings slices of labels to the network's grid without losing any.

        Args:
            stored: 0 and 1, [K, H, W].
            name: the case, for messages.

        Returns:
            uint8 [K, h, w]. Resized, a pixel is labelled where the label covers half of it; a slice whose label is too
            small for that keeps its most covered pixel.

        Raises:
            InputError: the border to cut off holds label.
        """
        if self.fit == "pad" or stored.shape[1:] == self.matrix:
            fitted = self._centred(np.asarray(stored, np.uint8))
            lost = int(np.count_nonzero(stored)) - int(np.count_nonzero(fitted))
            if lost:
                raise InputError(
                    f"{name}: expected the label within the central {list(self.matrix)} of {list(stored.shape[1:])}, "
                    f"got {lost} labelled pixels outside; enlarge data.matrix or set data.fit: resize"
                )
            return fitted
        fitted = np.zeros((len(stored), *self.matrix), np.uint8)
        for index in np.flatnonzero(stored.any((1, 2))):
            cover = self.images(stored[index : index + 1].astype(np.float32))[0]
            fitted[index] = cover >= min(0.5, float(cover.max()))
        return fitted

    def to_native(self, labels: np.ndarray) -> np.ndarray:
        """Puts predicted slices back where they came from.

        Args:
            labels: whole numbers [K, h, w], in the order of `kept`.

        Returns:
            uint8, shape and order of axes as in the file; 0 in slices that were not taken and in borders cut off.

        Raises:
            InputError: not one slice of the matrix for each one kept.
        """
        if labels.shape != (len(self.kept), *self.matrix):
            raise InputError(
                f"prediction: expected {[len(self.kept), *self.matrix]}, one slice for each slice kept, "
                f"got {list(labels.shape)}; give all slices of the volume"
            )
        native = np.zeros(self.shape, np.uint8)
        if self.fit == "pad" or self.matrix == self.shape[1:]:
            native[list(self.kept)] = _centre(np.asarray(labels, np.uint8), self.shape[1:])
        else:
            for number, label in zip(self.kept, np.asarray(labels, np.uint8), strict=True):
                native[number] = resize(
                    label, self.shape[1:], order=0, anti_aliasing=False, mode="edge", preserve_range=True
                )
        return np.moveaxis(native, 0, self.axis)

    def _centred(self, stored: np.ndarray) -> np.ndarray:
        return _centre(stored, self.matrix)


def _centre(slices: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Pads with zeros or crops [K, H, W] about the centre; cropping undoes padding, whether sizes are odd or even."""
    result = np.zeros((len(slices), *size), slices.dtype)
    pairs = [_overlap(old, new) for old, new in zip(slices.shape[1:], size, strict=True)]
    (rows, columns), (to_rows, to_columns) = zip(*pairs, strict=True)
    result[:, to_rows, to_columns] = slices[:, rows, columns]
    return result


def _overlap(old: int, new: int) -> tuple[slice, slice]:
    length, shift = min(old, new), abs(new - old) // 2
    here, there = slice(shift, shift + length), slice(0, length)
    return (here, there) if old > new else (there, here)
