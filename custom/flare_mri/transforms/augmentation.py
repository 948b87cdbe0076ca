# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Random transforms of training slices, by task and by name; off unless a job or a site asks for them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.data import get_track_meta, set_track_meta
from monai.transforms import (
    Compose,
    Rand2DElasticd,
    Rand3DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandHistogramShiftd,
    RandRotated,
    RandScaleIntensityd,
    RandSimulateLowResolutiond,
)
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.io.format import RECONSTRUCTION, SEGMENTATION
from flare_mri.physics.classical import root_sum_of_squares
from flare_mri.physics.coil_sensitivities import normalise_sensitivities
from flare_mri.physics.fourier import fft2c, ifft2c
from flare_mri.transforms.coils import RandCoilDropoutd, RandPhased, as_channels, as_complex

_DEGREES = np.pi / 180


@dataclass(frozen=True)
class View:
    """The images to transform, apart from their channels.

    Attributes:
        dims: number of axes, 2 or 3.
        left_right: that from left to right, along which bodies may be mirrored; None: there is none, or not known.
    """

    dims: int = 2
    left_right: int | None = None


Recipe = dict[str, Callable[[tuple[str, ...], View], Any]]
_LABEL_MODE = ("bilinear", "nearest")

RECONSTRUCTION_TRANSFORMS: Recipe = {
    "flip": lambda keys, view: RandFlipd(keys, prob=0.5, spatial_axis=1),
    "affine": lambda keys, view: RandAffined(
        keys, prob=0.8, translate_range=(8, 8), scale_range=(0.2, 0.2), mode="bilinear", padding_mode="zeros"
    ),
    "rotation": lambda keys, view: RandRotated(
        keys, range_x=10 * _DEGREES, prob=0.5, mode="bilinear", padding_mode="zeros", keep_size=True
    ),
    "phase": lambda keys, view: RandPhased(keys[:1]),
    "coil_dropout": lambda keys, view: RandCoilDropoutd(keys),
}
"""Of the fully sampled image before it is undersampled, so that the scan stays one of its target: the magnitude
[1, H, W]; of raw k-space the images of all coils and their sensitivities, alike."""

NAMED = frozenset({"rotation", "phase", "coil_dropout", "inversion"})
"""Those that a site has only where it names them: whether they help was not measured over a whole job, or depends on
the scanners."""

OF_COILS = frozenset({"phase", "coil_dropout"})
"""Those that need raw k-space."""


def _turn(keys: tuple[str, ...], view: View) -> RandAffined:
    """Rotation, shift and size: about the axis across the slices by up to 15 degrees, about the others by a third."""
    degrees = 15 * _DEGREES
    return RandAffined(
        keys,
        prob=0.5,
        rotate_range=degrees if view.dims == 2 else (degrees, degrees / 3, degrees / 3),
        translate_range=(4,) * view.dims,
        scale_range=(0.12,) * view.dims,
        mode=_LABEL_MODE,
        padding_mode="border",
    )


def _bend(keys: tuple[str, ...], view: View) -> Any:
    """Displacements of about a pixel that vary over some 16."""
    shared: dict[str, Any] = {"prob": 0.2, "mode": _LABEL_MODE, "padding_mode": "border"}
    if view.dims == 2:
        return Rand2DElasticd(keys, spacing=(16, 16), magnitude_range=(0.5, 2), **shared)
    return Rand3DElasticd(keys, sigma_range=(5, 7), magnitude_range=(50, 100), **shared)


def _mirror(keys: tuple[str, ...], view: View) -> Any:
    return None if view.left_right is None else RandFlipd(keys, prob=0.5, spatial_axis=view.left_right)


def _blur(keys: tuple[str, ...], view: View) -> RandGaussianSmoothd:
    sigma = (0.3, 1.0)
    return RandGaussianSmoothd(keys[:1], sigma, sigma, sigma, prob=0.2)


def _coarsen(keys: tuple[str, ...], view: View) -> RandSimulateLowResolutiond:
    mode = "bilinear" if view.dims == 2 else "trilinear"
    return RandSimulateLowResolutiond(keys[:1], prob=0.2, upsample_mode=mode, zoom_range=(0.5, 1.0))


SEGMENTATION_TRANSFORMS: Recipe = {
    "flip": _mirror,
    "affine": _turn,
    "elastic": _bend,
    "inversion": lambda keys, view: RandScaleIntensityd(keys[:1], factors=(-2.0, -2.0), prob=0.5),
    "bias_field": lambda keys, view: RandBiasFieldd(keys[:1], prob=0.3, degree=2, coeff_range=(0.0, 0.2)),
    "gamma": lambda keys, view: RandAdjustContrastd(keys[:1], prob=0.3, gamma=(0.7, 1.5)),
    "histogram_shift": lambda keys, view: RandHistogramShiftd(keys[:1], prob=0.2, num_control_points=(5, 8)),
    "low_resolution": _coarsen,
    "blur": _blur,
    "noise": lambda keys, view: RandGaussianNoised(keys[:1], prob=0.3, std=0.1),
}
"""Of the z-scored slice between its neighbours [3, H, W] or patch [1, D, H, W], and its label; a function that gives
None has none for such images."""

_KEYS = {RECONSTRUCTION: ("target",), SEGMENTATION: ("image", "label")}
TASK_TRANSFORMS = {RECONSTRUCTION: RECONSTRUCTION_TRANSFORMS, SEGMENTATION: SEGMENTATION_TRANSFORMS}


def choose_augmentation(
    task: str, job: bool, site: bool | tuple[str, ...] | None, raw: bool = False, undersampled: bool = False
) -> tuple[str, ...]:
    """Names of the random transforms that a site trains with.

    Args:
        task: of the job.
        job: whether the job asks for the task's transforms.
        site: `data.augmentation` of the site, which has the last word: all, none or some of the task's; None: as the
            job says. All are without those of :data:`NAMED`.
        raw: whether the site's scans are raw k-space.
        undersampled: whether they were measured so: only those of :data:`OF_COILS` keep what was not measured apart.

    Raises:
        InputError: the site names one that the task, or the kind of its scans, does not have.
    """
    known = tuple(TASK_TRANSFORMS[task])
    wanted = job if site is None else site
    if isinstance(wanted, bool):
        return tuple(name for name in known if name not in NAMED) if wanted and not undersampled else ()
    for name in wanted:
        if name not in known:
            raise InputError(
                f"data.augmentation: expected true, false or some of {', '.join(known)} for {task}, got {name!r}; "
                "correct it in site.yaml"
            )
        if name in OF_COILS and not raw:
            raise InputError(
                f"data.augmentation: {name}: expected raw k-space, got images (as with data.simulate, spatial_size, "
                "spacing or orientation); remove it in site.yaml"
            )
        if undersampled and name not in OF_COILS:
            raise InputError(
                f"data.augmentation: {name}: expected fully sampled scans, got undersampled ones, for which there are "
                f"{' and '.join(sorted(OF_COILS))}; remove it in site.yaml"
            )
    return tuple(name for name in known if name in wanted)


class Augmentation:
    """The random transforms of these names, in the task's order, drawn anew for every seed.

    All transforms share one generator, seeded once a sample: a sample then depends on its seed alone, not on the
    process or on the samples before it. MONAI's tracking of metadata, which costs ten times the transforms themselves,
    is off meanwhile: training samples never go back to the scan.

    Args:
        task: of the job.
        names: of :data:`TASK_TRANSFORMS`.
        keys: entries of a sample to transform; None for the task's own.
        dims: axes of the images besides channels, 2 or 3.
        left_right: that of them from left to right; None: there is none, or it is not known.
    """

    def __init__(
        self,
        task: str,
        names: tuple[str, ...],
        keys: tuple[str, ...] | None = None,
        dims: int = 2,
        left_right: int | None = None,
    ):
        keys, view = keys or _KEYS[task], View(dims, left_right)
        self._random = np.random.RandomState()
        made = [TASK_TRANSFORMS[task][name](keys, view) for name in names]
        self.transforms = Compose([transform for transform in made if transform is not None])
        for transform in self.transforms.transforms:
            transform.set_random_state(state=self._random)

    def __call__(self, sample: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """A transformed copy of a sample of plain tensors; `seed` in [0, 2^32)."""
        self._random.seed(seed)
        tracked = get_track_meta()
        set_track_meta(False)
        try:
            return self.transforms(sample)
        finally:
            set_track_meta(tracked)


class RawAugmentation:
    """The random transforms of reconstruction on raw k-space: of all coils' images and sensitivities alike.

    Args:
        names: of :data:`RECONSTRUCTION_TRANSFORMS`.
    """

    def __init__(self, names: tuple[str, ...]):
        self._transforms = Augmentation(RECONSTRUCTION, names, ("coils", "maps"))

    def __call__(self, sample: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        """Transform ``full`` k-space and ``sensitivities``, complex64 [C, H, W]; a ``target`` follows, [1, H, W]."""
        images = {"coils": as_channels(ifft2c(sample["full"])), "maps": as_channels(sample["sensitivities"])}
        moved = {key: as_complex(value) for key, value in self._transforms(images, seed).items()}
        full = fft2c(moved["coils"])
        maps = normalise_sensitivities(moved["maps"][None])[0]
        changed = {**sample, "full": full, "sensitivities": maps}
        return changed | ({"target": root_sum_of_squares(full[None])[0]} if "target" in sample else {})
