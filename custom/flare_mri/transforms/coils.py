# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Random transforms of multi-coil images: another phase, a coil that fails.

Complex images of C coils are real arrays [2 C, H, W], first all real parts, then all imaginary ones, since MONAI's
transforms of space, with which these stand in a row, take real channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor


class _RandCoils(RandomizableTransform, MapTransform, ABC):
    """Base of the transforms: whether a sample is changed is drawn, how is the subclass's.

    Args:
        keys: entries that are changed alike.
        prob: of changing a sample.
    """

    def __init__(self, keys: tuple[str, ...], prob: float):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.names = keys

    def __call__(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A transformed copy of a sample."""
        self.randomize(None)
        return {**data, **(self.change(data) if self._do_transform else {})}

    @abstractmethod
    def change(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The changed entries."""


class RandPhased(_RandCoils):
    """Turn the phase of all coils by one random angle: a scanner's own is arbitrary, magnitudes stay.

    Args:
        keys: images; their sensitivities stay as they are.
        prob: of turning a sample.
    """

    def __init__(self, keys: tuple[str, ...], prob: float = 1.0):
        super().__init__(keys, prob)

    def change(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The turned images."""
        angle = torch.tensor(self.R.uniform(-torch.pi, torch.pi), dtype=torch.float32)
        turn = torch.polar(torch.ones(()), angle)
        return {key: as_channels(as_complex(data[key]) * turn) for key in self.names}


class RandCoilDropoutd(_RandCoils):
    """Silence one random coil of three or more, in the images and the sensitivities alike.

    Args:
        keys: images and sensitivities, of the same coils.
        prob: of silencing one.
    """

    def __init__(self, keys: tuple[str, ...], prob: float = 0.2):
        super().__init__(keys, prob)

    def change(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Images and sensitivities without the coil."""
        coils = len(data[self.names[0]]) // 2
        if coils < 3:
            return {}
        coil = int(self.R.randint(coils))
        kept = torch.ones(2 * coils, 1, 1)
        kept[[coil, coils + coil]] = 0
        return {key: data[key] * kept for key in self.names}


def as_channels(images: Tensor) -> Tensor:
    """complex [C, H, W] as real [2 C, H, W]."""
    return torch.cat([images.real, images.imag])


def as_complex(channels: Any) -> Tensor:
    """Real [2 C, H, W] as complex [C, H, W]."""
    real, imaginary = channels.chunk(2)
    return torch.complex(real, imaginary)
