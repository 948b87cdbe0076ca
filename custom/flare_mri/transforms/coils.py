# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Random transforms of multi-coil images: another phase, a coil that fails.

Complex images of C coils are real arrays [2 C, H, W], first all real parts, then all imaginary ones, since MONAI's
transforms of space, with which these stand in a row, take real channels.
"""

from collections.abc import Mapping
from typing import Any

import torch
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor


class RandPhased(RandomizableTransform, MapTransform):
    """Turn the phase of all coils by one random angle: a scanner's own is arbitrary, magnitudes stay.

    Args:
        keys: images; their sensitivities stay as they are.
        prob: of turning a sample.
    """

    def __init__(self, keys: tuple[str, ...], prob: float = 1.0):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.names = keys

    def __call__(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A transformed copy of a sample."""
        self.randomize(None)
        angle = torch.tensor(self.R.uniform(-torch.pi, torch.pi))
        if not self._do_transform:
            return dict(data)
        turned = {
            key: as_channels(as_complex(data[key]) * torch.polar(torch.ones(()), angle.float())) for key in self.names
        }
        return {**data, **turned}


class RandCoilDropoutd(RandomizableTransform, MapTransform):
    """Silence one random coil of three or more, in the images and the sensitivities alike.

    Args:
        keys: images and sensitivities, of the same coils.
        prob: of silencing one.
    """

    def __init__(self, keys: tuple[str, ...], prob: float = 0.2):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.names = keys

    def __call__(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A transformed copy of a sample."""
        self.randomize(None)
        coils = len(data[self.names[0]]) // 2
        coil = int(self.R.randint(coils))
        if not self._do_transform or coils < 3:
            return dict(data)
        kept = torch.ones(2 * coils, 1, 1)
        kept[[coil, coils + coil]] = 0
        return {**data, **{key: data[key] * kept for key in self.names}}


def as_channels(images: Tensor) -> Tensor:
    """complex [C, H, W] as real [2 C, H, W]."""
    return torch.cat([images.real, images.imag])


def as_complex(channels: Any) -> Tensor:
    """Real [2 C, H, W] as complex [C, H, W]."""
    real, imaginary = channels.chunk(2)
    return torch.complex(real, imaginary)
