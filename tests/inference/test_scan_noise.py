# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The noise of a raw scan: of phantoms with sharp and smooth edges, whose noise is known, sampled in many ways."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from flare_mri.datasets.phantom_kspace import coil_sensitivities
from flare_mri.inference.scan_noise import estimate_noise

SIZE, FINER, COILS = 96, 4, 4


def scan_phantom(edges: str, extent: float = 0.85) -> np.ndarray:
    """Noiseless k-space [1, C, H, W] of an ellipse with a box: of a finer image, so that edges ring as in a scanner."""
    fine = SIZE * FINER
    axis = (np.arange(fine) - fine // 2) / (fine / 2)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    image = ((y / extent) ** 2 + (x / extent / 0.9) ** 2 < 1) + 0.8 * ((abs(y + 0.3) < 0.1) & (abs(x + 0.2) < 0.2))
    image = gaussian_filter(image, 3 * FINER) if edges == "smooth" else image
    maps = coil_sensitivities(np.random.default_rng(0), (1, fine, fine), COILS)
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image * maps, (2, 3)), norm="ortho"), (2, 3)) / FINER
    middle = slice(fine // 2 - SIZE // 2, fine // 2 + SIZE // 2)
    return kspace[:, :, middle, middle]


def noise_of(shape: tuple[int, ...], deviation: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    return deviation * (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)


def sampling(kind: str) -> np.ndarray:
    """A mask [1, H, W]."""
    lines = np.arange(SIZE) % 4 == 0
    lines[SIZE // 2 - 4 : SIZE // 2 + 4] = True
    mask = np.broadcast_to(lines, (SIZE, SIZE)).copy()
    mask[: SIZE // 4] &= kind != "partial echo"
    return {"all": mask | True, "rows": mask.T}.get(kind, mask)[None]


@pytest.mark.parametrize("kind", ["all", "columns", "rows", "partial echo"])
@pytest.mark.parametrize("deviation", [0.1, 0.003])
@pytest.mark.parametrize("edges", ["sharp", "smooth"])
def test_noise_is_told_from_edges(edges: str, deviation: float, kind: str) -> None:
    clean = scan_phantom(edges)
    mask = sampling(kind)
    kspace = (clean + noise_of(clean.shape, deviation)) * mask[:, None]
    assert estimate_noise(kspace, mask) == pytest.approx(deviation, rel=0.2)


def test_it_is_an_upper_bound_where_nothing_lies_beside_the_object_or_no_line_is_whole() -> None:
    clean, scattered = scan_phantom("sharp", extent=1.3), np.random.default_rng(2).random((1, SIZE, SIZE)) < 0.3
    for mask in (sampling("columns"), scattered):
        noise = noise_of(clean.shape, 0.003)
        assert estimate_noise(noise * mask[:, None], mask) == pytest.approx(0.003, rel=0.1)
        assert estimate_noise((clean + noise) * mask[:, None], mask) > 0.003


def test_coils_count_by_their_variance_and_nothing_measured_has_none() -> None:
    noise = noise_of((4, 3, 64, 64), 1) * np.array([1.0, 2.0, 0.0])[:, None, None]
    everything = np.ones((4, 64, 64), bool)
    assert estimate_noise(noise, everything) == pytest.approx(np.sqrt(5 / 3), rel=0.05)
    assert np.isnan(estimate_noise(noise, ~everything))
