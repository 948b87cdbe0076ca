# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""Coil sensitivities from the fully sampled centre of k-space, with :math:`\sum_c |S_c|^2 = 1` where the object is.

Only products of sensitivity and image are measured: sensitivities are known up to a phase that all coils share. Where
there is no object they are uncertain; cropped there, they make an image's background 0, which a root sum of squares of
noise is not. By default nothing is cropped.
"""

import torch
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.extras import import_extra
from flare_mri.physics.fourier import ifft2c

METHODS = ("espirit", "low_pass")
_LARGEST_KERNEL = 6  # of ESPIRiT, in samples of k-space: SigPy's default
_LEAST_CENTRE = 8


def fully_sampled_centre(mask: Tensor) -> Tensor:
    """The largest fully sampled rectangle about zero frequency, by its shorter side, then by its area.

    Args:
        mask: bool or 0/1 [B, 1, H, W], centred.

    Returns:
        int64 [B, 2], height and width of the rectangle, 0 and 0 where zero frequency is not sampled. One of height h
        has the rows from ``H // 2 - h // 2`` on, and so with columns.
    """
    sampled = mask[:, 0] > 0
    height, width = sampled.shape[1:]
    # Summed-area table: samples in a rectangle, for all of them at once.
    table = torch.nn.functional.pad(sampled.long().cumsum(1).cumsum(2), (1, 0, 1, 0))
    heights, widths = (torch.arange(1, size + 1, device=mask.device) for size in (height, width))
    tops, lefts = height // 2 - heights // 2, width // 2 - widths // 2
    bottoms, rights = tops + heights, lefts + widths
    rows = table[:, bottoms] - table[:, tops]
    counts = rows[:, :, rights] - rows[:, :, lefts]
    areas = heights[:, None] * widths
    scores = torch.minimum(heights[:, None], widths) * (height * width + 1) + areas
    best, place = torch.where(counts == areas, scores, 0).flatten(1).max(1)
    found = torch.stack([place // width + 1, place % width + 1], dim=1)
    return torch.where(best[:, None] > 0, found, 0)


def centre_window(mask: Tensor) -> Tensor:
    """1 in the :func:`fully_sampled_centre` of each mask and 0 elsewhere, float32 [B, 1, H, W].

    Raises:
        InputError: zero frequency is not sampled.
    """
    sizes = fully_sampled_centre(mask)
    if not sizes.all():
        raise InputError(
            "mask: expected zero frequency to be sampled, to find coil sensitivities about it, got a mask without; "
            "use another mask, or check whether k-space is centred"
        )
    inside = [_places(size, length) for size, length in zip(sizes.unbind(1), mask.shape[2:], strict=True)]
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None].float()


def _places(sizes: Tensor, length: int) -> Tensor:
    """Places of an axis that lie in its centred part, bool [B, length]."""
    places, start = torch.arange(length, device=sizes.device), length // 2 - sizes // 2
    return (places >= start[:, None]) & (places < (start + sizes)[:, None])


def normalise_sensitivities(maps: Tensor, support: Tensor | None = None) -> Tensor:
    """Scale complex maps [B, C, H, W] so that their squares sum to 1 over the coils, and to 0 outside the support.

    Args:
        maps: any multiple of the sensitivities.
        support: bool [B, 1, H, W]; None: wherever they are not all 0.
    """
    power = maps.abs().square().sum(1, keepdim=True)
    inside = power > 0 if support is None else support & (power > 0)
    # Divided by 1 outside: a root has no finite gradient at 0.
    return torch.where(inside, maps * torch.where(inside, power, 1).rsqrt(), 0)


def estimate_low_pass(kspace: Tensor, mask: Tensor, crop: float = 0.0) -> Tensor:
    """Sensitivities as low-resolution images of each coil, divided by their root sum of squares.

    (McKenzie et al., Self-calibrating parallel imaging, MRM 2002.) The centre is made a square, so that maps are as
    smooth along both axes, and tapered by a Hann window against ringing.

    Args:
        kspace: complex [B, C, H, W], centred, prewhitened where a noise acquisition stands.
        mask: bool or 0/1 [B, 1, H, W].
        crop: part of the brightest pixel's root sum of squares below which there is no object; 0 keeps all.

    Returns:
        complex [B, C, H, W], sum of squares 1, and 0 outside the object.

    Raises:
        InputError: zero frequency is not sampled.
    """
    centre_window(mask)  # refuses a mask without a centre
    widths = fully_sampled_centre(mask).amin(1)
    tapers = [_hann(widths, length) for length in mask.shape[2:]]
    window = tapers[0][:, None, :, None] * tapers[1][:, None, None, :]
    images = ifft2c(kspace * window)
    length = images.abs().square().sum(1, keepdim=True).sqrt()
    return normalise_sensitivities(images, length >= crop * length.amax((2, 3), keepdim=True))


def _hann(widths: Tensor, length: int) -> Tensor:
    """A Hann window of each width about the centre of an axis, [B, length], 1 in its middle."""
    distance = (torch.arange(length, device=widths.device) - length // 2).abs()
    phase = distance / (widths[:, None] / 2 + 1)
    return torch.where(phase < 1, 0.5 + 0.5 * torch.cos(torch.pi * phase), 0)


def estimate_espirit(kspace: Tensor, mask: Tensor, crop: float = 0.0, threshold: float = 0.02) -> Tensor:
    """Sensitivities by ESPIRiT (Uecker et al., MRM 2014), with SigPy, one map a coil.

    A coil that measures nothing has a map of zeros. The phase is relative to the first coil's. Kernels are 6 samples
    wide, or half a smaller centre: of ten lines the calibration matrix would have too few rows.

    Args:
        kspace: complex [B, C, H, W], centred, prewhitened where a noise acquisition stands.
        mask: bool or 0/1 [B, 1, H, W] with a fully sampled centre of at least 8x8.
        crop: eigenvalue below which a pixel is outside the object, 0 to 1; the smaller the centre, the smaller are
            the eigenvalues inside.
        threshold: part of the largest singular value below which the calibration matrix holds noise.

    Returns:
        complex64 [B, C, H, W], sum of squares 1, and 0 outside the object.

    Raises:
        InputError: the centre is too small, or SigPy is not installed.
    """
    calibrate = import_extra("raw", "sigpy.mri.app", "coil sensitivities by ESPIRiT").EspiritCalib
    widths = fully_sampled_centre(mask).amin(1).expand(len(kspace)).tolist()
    if min(widths) < _LEAST_CENTRE:
        raise InputError(
            f"mask: expected a fully sampled centre of at least {_LEAST_CENTRE}x{_LEAST_CENTRE} for ESPIRiT, got "
            f"{min(widths)}; sample more of it (of a full scan: mask.centre_fraction), or set data.sensitivities to "
            "low_pass"
        )
    maps = torch.zeros(kspace.shape, dtype=torch.complex64)
    for sample, width in enumerate(widths):
        kernel = min(_LARGEST_KERNEL, width // 2)
        data = kspace[sample].detach().cpu().to(torch.complex64)
        alive = data.abs().amax((1, 2)).nonzero()[:, 0]
        if len(alive):
            options = {"thresh": threshold, "crop": crop, "kernel_width": kernel, "show_pbar": False}
            app = calibrate(data[alive].numpy(), calib_width=width, **options)
            maps[sample, alive] = torch.from_numpy(app.run().astype("complex64"))
    return normalise_sensitivities(torch.where(maps.isfinite(), maps, 0)).to(kspace.device)


def estimate_sensitivities(kspace: Tensor, mask: Tensor, method: str = "espirit", crop: float = 0.0) -> Tensor:
    """Sensitivities by one of :data:`METHODS`; of a single coil, which has none to tell apart, ones.

    Args:
        kspace: complex [B, C, H, W], centred, prewhitened where a noise acquisition stands.
        mask: bool or 0/1 [B, 1, H, W].
        method: "espirit" or "low_pass".
        crop: as the method's function takes it.

    Raises:
        InputError: as :func:`estimate_espirit` and :func:`estimate_low_pass`; or no such method.
    """
    if method not in METHODS:
        raise InputError(f"coil sensitivities: expected one of {', '.join(METHODS)}, got {method!r}; correct it")
    if kspace.shape[1] == 1:
        return torch.ones_like(kspace)
    estimate = estimate_espirit if method == "espirit" else estimate_low_pass
    return estimate(kspace, mask, crop)
