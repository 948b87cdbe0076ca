# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A multi-site MR phantom: the same kind of heads, each site with its own scanner and protocol.

Tissue maps pass through the signal equations of the site's sequence, coil sensitivities and noise, so that sites differ
as real ones do. A site's name decides its protocol and its subjects.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flare_mri.config.mask import MaskSettings
from flare_mri.datasets.phantom_head import Label, head_labels, smooth_noise
from flare_mri.datasets.phantom_kspace import DEFAULT_COILS, simulate_coils

DEFAULT_MATRIX = (96, 96)
DEFAULT_SUBJECTS = 10
SLICES = 6
PHANTOM_VERSION = 3  # part of the cache key: raise it when the images change

_OVERSAMPLING = 2  # tissue maps are finer than the image, so that edges hold partial volume


@dataclass(frozen=True)
class Tissue:
    """Proton density (water = 1), T1 and T2 in ms at 1.5 T; `t1_grows`: T1 lengthens with the field strength."""

    proton_density: float
    t1: float
    t2: float
    t1_grows: bool = True


TISSUES = {
    Label.AIR: Tissue(0.0, 1000, 1),
    Label.SCALP: Tissue(0.62, 300, 65),
    Label.SKULL: Tissue(0.08, 900, 3),
    Label.MARROW: Tissue(0.45, 350, 55),
    Label.CSF: Tissue(1.0, 4200, 1800, t1_grows=False),
    Label.GREY: Tissue(0.83, 1060, 98),
    Label.WHITE: Tissue(0.70, 640, 76),
    Label.DEEP_GREY: Tissue(0.77, 880, 78),
    Label.LESION: Tissue(0.87, 1350, 150),
}


@dataclass(frozen=True)
class Sequence:
    """A pulse sequence: `spin_echo`, `spoiled_gre` or `inversion_recovery`; times in ms, flip angle in degrees."""

    kind: str
    tr: float
    te: float
    flip: float = 90.0
    ti: float = 0.0


@dataclass(frozen=True)
class PhantomSite:
    """One site's scanner, protocol and sampling.

    Attributes:
        sequence: what it measures.
        field: strength in tesla.
        shading: relative drop of the sensitivity of all coils together over the head, 0 for none.
        snr: brightest tissue / standard deviation of the noise in each of the real and imaginary channels.
        mask: how it undersamples k-space.
    """

    sequence: Sequence
    field: float
    shading: float
    snr: float
    mask: MaskSettings


def _mask(kind: Any, acceleration: float, centre_fraction: float) -> MaskSettings:
    return MaskSettings(kind=kind, acceleration=acceleration, centre_fraction=centre_fraction)


PRESETS = (
    PhantomSite(
        Sequence("spin_echo", 520, 12),
        1.5,
        0.3,
        45,
        _mask("equispaced", 4, 0.08),
    ),
    PhantomSite(Sequence("spin_echo", 4200, 98), 3.0, 0.5, 60, _mask("random", 4, 0.08)),
    PhantomSite(
        Sequence("spoiled_gre", 22, 4.5, flip=28),
        3.0,
        0.6,
        35,
        _mask("radial", 4, 0.04),
    ),
    PhantomSite(
        Sequence("inversion_recovery", 9000, 110, ti=2450),
        1.5,
        0.2,
        30,
        _mask("gaussian", 6, 0.06),
    ),
    PhantomSite(
        Sequence("spin_echo", 2600, 22),
        1.0,
        0.4,
        25,
        _mask("equispaced", 3, 0.08),
    ),
    PhantomSite(
        Sequence("spoiled_gre", 620, 28, flip=18),
        3.0,
        0.5,
        40,
        _mask("random", 3, 0.10),
    ),
)


@dataclass(frozen=True)
class PhantomVolume:
    """One subject: `kspace` complex64 [S, C, H, W] and `labels` uint8 [S, H, W] of `Label` values."""

    name: str
    kspace: np.ndarray
    labels: np.ndarray


def phantom_site(site_name: str) -> PhantomSite:
    """Returns the site's protocol: the trailing number of its name, or else a hash of it, picks one of `PRESETS`."""
    number = re.search(r"\d+$", site_name)
    place = int(number[0]) - 1 if number else stable_hash(site_name)
    preset = PRESETS[place % len(PRESETS)]
    return replace(preset, mask=preset.mask.model_copy(update={"seed": stable_hash(site_name)}))


def signal(sequence: Sequence, tissue: Tissue, field: float) -> float:
    r"""Signal magnitude of a tissue, relative to that of fully relaxed water.

    Spin echo: $\rho (1 - e^{-TR/T_1}) e^{-TE/T_2}$; inversion recovery:
    $\rho |1 - 2 e^{-TI/T_1} + e^{-TR/T_1}| e^{-TE/T_2}$; spoiled gradient echo with flip angle $\alpha$:
    $\rho \sin\alpha (1 - e^{-TR/T_1}) / (1 - \cos\alpha\, e^{-TR/T_1}) e^{-TE/T_2^*}$.

    Args:
        sequence: with TR, TE, TI in ms.
        tissue: relaxation times at 1.5 T; T1 is scaled by $(B_0 / 1.5)^{1/3}$, and $1/T_2^* = 1/T_2 + 1/120$ per ms.
        field: $B_0$ in tesla.

    Raises:
        ValueError: unknown kind of sequence.
    """
    t1 = tissue.t1 * (field / 1.5) ** (1 / 3) if tissue.t1_grows else tissue.t1
    e1 = np.exp(-sequence.tr / t1)
    e2 = np.exp(-sequence.te / tissue.t2)
    if sequence.kind == "spin_echo":
        value = (1 - e1) * e2
    elif sequence.kind == "inversion_recovery":
        value = abs(1 - 2 * np.exp(-sequence.ti / t1) + e1) * e2
    elif sequence.kind == "spoiled_gre":
        angle = np.deg2rad(sequence.flip)
        value = np.sin(angle) * (1 - e1) / (1 - np.cos(angle) * e1) * e2 * np.exp(-sequence.te / 120)
    else:
        raise ValueError(f"unknown sequence {sequence.kind!r}")
    return float(tissue.proton_density * value)


def acquire(
    rng: np.random.Generator, labels: np.ndarray, site: PhantomSite, tissues: Mapping[Any, Tissue] = TISSUES
) -> np.ndarray:
    """Scans a label map with one coil.

    Args:
        rng: draws the tissue texture, the coil's place and the noise.
        labels: uint8 [S, 2H, 2W], twice as fine as the image.
        site: sequence, coil and noise.
        tissues: what the values 0, 1, ... of the label map are, in this order.

    Returns:
        float32 [S, H, W] magnitudes >= 0, the brightest tissue about 1.
    """
    image = magnetise(rng, labels, site, tissues)
    noise = rng.standard_normal((2, *image.shape)) / site.snr
    return np.hypot(image + noise[0], noise[1]).astype(np.float32)


def magnetise(
    rng: np.random.Generator, labels: np.ndarray, site: PhantomSite, tissues: Mapping[Any, Tissue] = TISSUES
) -> np.ndarray:
    """The transverse magnetisation of a label map, with the site's shading and without noise.

    Arguments are those of :func:`acquire`.

    Returns:
        float64 [S, H, W] >= 0, the brightest tissue about 1.
    """
    table = np.array([signal(site.sequence, tissue, site.field) for tissue in tissues.values()])
    table /= table.max()
    slices, height, width = labels.shape
    fine = table[labels] * (1 + 0.02 * smooth_noise(rng, (slices, height, width), (0, 2.5, 2.5)))
    halves = (slices, height // _OVERSAMPLING, _OVERSAMPLING, width // _OVERSAMPLING, _OVERSAMPLING)
    return fine.reshape(halves).mean((2, 4)) * _sensitivity(rng, slices, halves[1], halves[3], site.shading)


def make_phantom(
    site_name: str, subject: int, spatial_size: tuple[int, int] = DEFAULT_MATRIX, coils: int = DEFAULT_COILS
) -> PhantomVolume:
    """Scans one subject of a site; the same arguments give the same volume.

    Args:
        site_name: decides the protocol and, with `subject`, the anatomy.
        subject: number of the subject, from 0.
        spatial_size: (H, W) of the images.
        coils: that receive.

    Returns:
        k-space of `SLICES` transverse slices, fully sampled, with their labels.
    """
    rng = np.random.default_rng([stable_hash(site_name), subject])
    fine = head_labels(rng, (SLICES, _OVERSAMPLING * spatial_size[0], _OVERSAMPLING * spatial_size[1]))
    labels = np.ascontiguousarray(fine[:, ::_OVERSAMPLING, ::_OVERSAMPLING])
    site = phantom_site(site_name)
    scan = simulate_coils(magnetise(rng, fine, site), rng, coils, site.snr)
    return PhantomVolume(f"subject-{subject:02d}", scan.kspace, labels)


def _sensitivity(rng: np.random.Generator, slices: int, height: int, width: int, shading: float) -> np.ndarray:
    """Coil sensitivity [S, H, W] in [1 - shading, 1], falling off from a point near the head's surface."""
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, height)[None, :, None] - np.sin(angle)
    x = np.linspace(-1, 1, width)[None, None, :] - np.cos(angle)
    z = np.linspace(-0.3, 0.3, slices)[:, None, None]
    return 1 - shading * (1 - np.exp(-(x**2 + y**2 + z**2) / 2))


def stable_hash(text: str) -> int:
    """The same whole number in every process, unlike `hash`."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
