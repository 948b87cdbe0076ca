# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The phantom's labelled half: male pelves with the prostate outlined, each site with its own scanner and protocol.

The organs of a pelvis are drawn as smooth, wobbling ellipses (prostate with its two zones, bladder, rectum, seminal
vesicles, muscles, pubic bones in fat); `phantom.acquire` scans it. A site's name decides its protocol and its subjects.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from flare_mri.config.mask import MaskSettings
from flare_mri.datasets.phantom import PhantomSite, Sequence, Tissue, acquire, stable_hash
from flare_mri.datasets.phantom_head import smooth_noise

PELVIS_SLICES = 10
PELVIS_VERSION = 1  # part of the cache key: raise it when the images change
SLICE_DISTANCE = 4.0  # mm
FIELD_OF_VIEW = 180.0  # mm

_OVERSAMPLING = 2  # of `acquire`


class Organ(IntEnum):
    """Values of a tissue map."""

    GAS = 0
    FAT = 1
    MUSCLE = 2
    CORTICAL_BONE = 3
    MARROW = 4
    URINE = 5
    RECTUM = 6
    VESICLE = 7
    CAPSULE = 8
    PERIPHERAL_ZONE = 9
    TRANSITION_ZONE = 10


PROSTATE = (Organ.CAPSULE, Organ.PERIPHERAL_ZONE, Organ.TRANSITION_ZONE)

PELVIS_TISSUES = {
    Organ.GAS: Tissue(0.0, 1000, 1),
    Organ.FAT: Tissue(0.9, 290, 68, t1_grows=False),
    Organ.MUSCLE: Tissue(0.75, 950, 40),
    Organ.CORTICAL_BONE: Tissue(0.06, 900, 3),
    Organ.MARROW: Tissue(0.55, 420, 58),
    Organ.URINE: Tissue(1.0, 3800, 1400, t1_grows=False),
    Organ.RECTUM: Tissue(0.78, 980, 62),
    Organ.VESICLE: Tissue(0.93, 1900, 210),
    Organ.CAPSULE: Tissue(0.6, 900, 32),
    Organ.PERIPHERAL_ZONE: Tissue(0.88, 1350, 150),
    Organ.TRANSITION_ZONE: Tissue(0.82, 1050, 88),
}

_UNUSED = MaskSettings()  # segmentation samples all of k-space
PELVIS_PRESETS = (
    PhantomSite(Sequence("spin_echo", 4200, 102), 3.0, 0.35, 45, _UNUSED),
    PhantomSite(Sequence("spin_echo", 560, 13), 1.5, 0.30, 40, _UNUSED),
    PhantomSite(Sequence("spin_echo", 3600, 150), 1.5, 0.75, 18, _UNUSED),
    PhantomSite(Sequence("inversion_recovery", 4800, 55, ti=155), 1.5, 0.30, 22, _UNUSED),
    PhantomSite(Sequence("spoiled_gre", 420, 16, flip=32), 3.0, 0.50, 25, _UNUSED),
    PhantomSite(Sequence("spin_echo", 2600, 68), 1.5, 0.55, 20, _UNUSED),
)


@dataclass(frozen=True)
class LabelledVolume:
    """One subject: magnitude `slices` float32 [S, H, W] and `labels` uint8 [S, H, W], 1 in the prostate."""

    name: str
    slices: np.ndarray
    labels: np.ndarray


def pelvis_geometry(spatial_size: tuple[int, int]) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Returns shape (S, H, W) and spacing in mm of every subject."""
    spacing = (SLICE_DISTANCE, FIELD_OF_VIEW / spatial_size[0], FIELD_OF_VIEW / spatial_size[1])
    return (PELVIS_SLICES, *spatial_size), spacing


def pelvis_site(site_name: str) -> PhantomSite:
    """Returns the site's protocol: the trailing number of its name, or else a hash of it, picks a preset.

    Names that begin with `outside` count from the last preset backwards, so that outside-1 has a scanner that none of
    site-1 to site-5 has.
    """
    number = re.search(r"\d+$", site_name)
    if number is None:
        place = stable_hash(site_name)
    else:
        place = -int(number[0]) if site_name.startswith("outside") else int(number[0]) - 1
    return PELVIS_PRESETS[place % len(PELVIS_PRESETS)]


def make_pelvis(site_name: str, subject: int, spatial_size: tuple[int, int]) -> LabelledVolume:
    """Makes one subject of a site; the same arguments give the same volume.

    Args:
        site_name: decides the protocol and, with `subject`, the anatomy.
        subject: number of the subject, from 0.
        spatial_size: (H, W) of the images.

    Returns:
        `PELVIS_SLICES` transverse slices; the prostate is in most, but not in all of them.
    """
    rng = np.random.default_rng([stable_hash("pelvis " + site_name), subject])
    fine = pelvis_organs(rng, (PELVIS_SLICES, _OVERSAMPLING * spatial_size[0], _OVERSAMPLING * spatial_size[1]))
    blocks = np.isin(fine, PROSTATE).reshape(
        PELVIS_SLICES, spatial_size[0], _OVERSAMPLING, spatial_size[1], _OVERSAMPLING
    )
    labels = (blocks.mean((2, 4)) >= 0.5).astype(np.uint8)
    images = acquire(rng, fine, pelvis_site(site_name), PELVIS_TISSUES)
    return LabelledVolume(f"subject-{subject:02d}", images, labels)


def pelvis_organs(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Draws one subject.

    Args:
        rng: decides the anatomy.
        shape: (S, H, W); slices from below the apex of the prostate to above its base, anterior is row 0.

    Returns:
        uint8 [S, H, W] of `Organ` values.
    """
    slices, height, width = shape
    z = np.linspace(-1, 1, slices)[:, None, None]
    y = np.linspace(1, -1, height)[None, :, None] + rng.uniform(-0.08, 0.08)
    x = np.linspace(-1, 1, width)[None, None, :] + rng.uniform(-0.06, 0.06)
    wobble = 1 + 0.05 * smooth_noise(rng, shape, (0.8, 0.07 * height, 0.07 * width))
    organs = np.full(shape, Organ.FAT, np.uint8)
    organs[(y - 0.15 * x**2) * wobble > 0.92] = Organ.GAS  # the air before the body
    _paint_wall(rng, organs, x, y, z, wobble)
    _paint_rectum(rng, organs, x, y, z, wobble)
    _paint_prostate(rng, organs, x, y, z, wobble)
    return organs


def _ellipse(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
    """Squared elliptical radius about `centre`, below 1 inside."""
    return ((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2


def _paint_wall(
    rng: np.random.Generator, organs: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, wobble: np.ndarray
) -> None:
    """Muscles and bones on both sides."""
    for side in (-1, 1):
        size = rng.uniform(0.9, 1.1)
        organs[_ellipse(x, y, (side * 0.95, 0.1), (0.22, 0.4 * size)) * wobble < 1] = Organ.CORTICAL_BONE
        organs[_ellipse(x, y, (side * 0.97, 0.1), (0.18, 0.36 * size)) * wobble < 1] = Organ.MARROW
        pubis = _ellipse(x, y, (side * 0.3, 0.66), (0.24 * size, 0.13)) * wobble + np.clip(z + 0.2, 0, None)
        organs[pubis < 1] = Organ.CORTICAL_BONE
        organs[pubis < 0.68] = Organ.MARROW
        organs[_ellipse(x, y, (side * 0.62, 0.05), (0.10, 0.44 * size)) * wobble < 1] = Organ.MUSCLE
        levator = np.abs(_ellipse(x, y, (0, -0.15), (0.5, 0.62)) * wobble - 1 + 0.1 * z)
        organs[(levator < 0.09) & (side * x > 0) & (y < 0.1)] = Organ.MUSCLE
        organs[_ellipse(x, y, (side * 0.62, -0.95), (0.5, 0.34)) * wobble < 1] = Organ.MUSCLE


def _paint_rectum(
    rng: np.random.Generator, organs: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, wobble: np.ndarray
) -> None:
    """The rectum behind the prostate, with gas or without."""
    centre, radius = (rng.normal(0, 0.03), -0.56), rng.uniform(0.17, 0.24)
    distance = _ellipse(x, y, centre, (radius * 1.15, radius)) * wobble
    organs[distance < 1] = Organ.RECTUM
    organs[(distance < 0.55) & (z > rng.uniform(-1.2, 0.6))] = Organ.GAS


def _paint_prostate(
    rng: np.random.Generator, organs: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, wobble: np.ndarray
) -> None:
    """Bladder above, seminal vesicles behind it, and the prostate: capsule, peripheral zone, transition zone."""
    middle, length = rng.uniform(-0.25, 0.0), rng.uniform(0.62, 0.82)
    half = (rng.uniform(0.25, 0.36), rng.uniform(0.19, 0.27))
    centre = (rng.normal(0, 0.03), rng.uniform(-0.18, -0.1))
    top = middle + length
    bladder = _ellipse(x, y, (centre[0], 0.18), (0.42, 0.3)) * wobble + ((z - 1.15) / 0.75) ** 2
    organs[bladder < 1] = Organ.MUSCLE
    organs[bladder < 0.82] = Organ.URINE
    folds = smooth_noise(rng, organs.shape, (0.6, 0.02 * organs.shape[1], 0.02 * organs.shape[2]))
    vesicles = _ellipse(x, y, (centre[0], centre[1] - 0.16), (0.4, 0.09)) * wobble + ((z - top) / 0.3) ** 2
    organs[vesicles < 1] = np.where(folds > -0.4, Organ.VESICLE, Organ.MUSCLE)[vesicles < 1]
    gland = _ellipse(x, y, centre, half) * wobble + ((z - middle) / length) ** 2
    inner = _ellipse(x, y, (centre[0], centre[1] + 0.25 * half[1]), (0.66 * half[0], 0.66 * half[1])) * wobble
    inner = inner + ((z - middle - 0.2 * length) / length) ** 2 - 0.25 * rng.uniform(-1, 1)
    organs[gland < 1] = Organ.CAPSULE
    organs[gland < 0.9] = Organ.PERIPHERAL_ZONE
    nodules = smooth_noise(rng, organs.shape, (0.8, 0.03 * organs.shape[1], 0.03 * organs.shape[2]))
    zone = np.where(nodules > 1.3, Organ.CAPSULE, Organ.TRANSITION_ZONE)
    within = (gland < 0.9) & (inner < 1)
    organs[within] = zone[within]
