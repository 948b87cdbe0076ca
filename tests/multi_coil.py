# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A small scan of several coils whose image, sensitivities and mask are known."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flare_mri.datasets.phantom import make_phantom
from flare_mri.io.raw.build import make_target
from flare_mri.physics import SenseOperator


@dataclass(frozen=True)
class Scan:
    """Truth and measurement: `image` [1, 1, H, W]; `maps`, `kspace`, `full` [1, C, H, W]; `mask` bool [1, 1, H, W]."""

    image: Tensor
    maps: Tensor
    mask: Tensor
    kspace: Tensor
    full: Tensor


def coil_maps(coils: int, size: tuple[int, int]) -> Tensor:
    """Smooth complex sensitivities of coils on a circle round the object, [1, C, H, W], sum of squares 1."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, length) for length in size), indexing="ij")
    angles = 2 * torch.pi * torch.arange(coils)[:, None, None] / coils + 0.3
    distance = (y - 1.2 * torch.sin(angles)) ** 2 + (x - 1.2 * torch.cos(angles)) ** 2
    maps = torch.exp(-distance / 1.5) * torch.exp(1j * (angles + 0.8 * (x * torch.sin(angles) - y * torch.cos(angles))))
    return (maps / maps.abs().square().sum(0).sqrt())[None].to(torch.complex64)


def columns(size: tuple[int, int], step: int, centre: int) -> Tensor:
    """A mask of every step-th column and some in the centre, bool [1, 1, H, W]."""
    sampled = torch.arange(size[1]) % step == 0
    sampled[size[1] // 2 - centre // 2 : size[1] // 2 - centre // 2 + centre] = True
    return sampled.expand(1, 1, *size).clone()


def make_scan(
    size: tuple[int, int] = (64, 64), coils: int = 4, step: int = 3, centre: int = 12, noise: float = 0.0, seed: int = 0
) -> Scan:
    """A phantom's head with a smooth phase; `noise` is the standard deviation of the complex noise in every sample."""
    even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    magnitude = torch.from_numpy(make_target(make_phantom("site-1", seed, even, coils=1).kspace)[3])[
        : size[0], : size[1]
    ]
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, length) for length in size), indexing="ij")
    image = (magnitude * torch.exp(1j * (0.5 + x - 0.7 * y * x)))[None, None].to(torch.complex64)
    maps, mask = coil_maps(coils, size), columns(size, step, centre)
    full = SenseOperator(maps, torch.ones_like(mask)).forward(image)
    generator = torch.Generator().manual_seed(seed)
    full = full + noise * torch.randn(full.shape, dtype=full.dtype, generator=generator)
    return Scan(image, maps, mask, full * mask, full)


def psnr(image: Tensor, truth: Tensor) -> float:
    """In dB, of magnitudes, against the maximum of the truth."""
    error = (image.detach().abs() - truth.abs()).square().mean().sqrt()
    return float(20 * torch.log10(truth.abs().max() / error))
