# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""How good a segmentation is likely to be, without a label: by whether it stays when the image changes a little.

A network that knows a scan's look marks the same organ under another gamma curve, with sharper or softer edges, a
little noise or a small shift; one that does not marks something else each time. The agreement of an organ is the mean,
over the changed images, of the fuzzy Dice of its probabilities :math:`p` in the image as it came and :math:`q_t` in the
changed one,

.. math:: a = \frac1T \sum_t \frac{2 \sum \min(p, q_t)}{\sum p + \sum q_t}

(with the minimum as intersection, as in Crum et al., IEEE TMI 2006, Generalized overlap measures). Changed images are
test-time augmentation (Wang et al., Neurocomputing 2019, arXiv 1807.07356); that samples which agree mean quality is
Roy et al.'s (Bayesian QuickNAT, NeuroImage 2019, arXiv 1811.09800), there of dropout's. A curve that was fitted where
labels exist makes a predicted Dice of it. An error that the network makes whatever the image looks like is not seen.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flare_mri.datasets.pieces import Pieces
from flare_mri.errors import InputError
from flare_mri.inference.calibration import PUBLISHED, Calibration

GAMMA = 0.6
SHARPENING = 0.7
NOISE = 0.2  # standard deviations of the volume
SHIFT = 2  # pixels down and to the right
PASSES = 6  # of a volume through the network: as it came, and each of `changes`
FAR = 3.0
"""Distance from a federation, of :func:`flare_mri.routing.statistics.find_distance`, above which a person is warned:
the sites left out of one lay at 1.0 at most; slices of another size, and inverted ones as they came, at 4 and more."""
MOST_MARKED = 0.9  # of the voxels: a network that marks everything does so in every changed image too


@dataclass(frozen=True)
class Quality:
    """What is expected of a segmentation of one volume.

    Attributes:
        dice: predicted, mean over organs, in [0, 1].
        organs: the same of each foreground class.
        agreement: of each foreground class, in [0, 1].
        warning: one line where an organ is below the threshold or not marked at all, or nearly everything is; else
            empty.
    """

    dice: float
    organs: tuple[float, ...]
    agreement: tuple[float, ...]
    warning: str = ""


def estimate_quality(
    network: nn.Module,
    pieces: Pieces,
    probabilities: Tensor | None = None,
    batch_size: int = 16,
    calibration: Calibration = PUBLISHED,
) -> Quality:
    """The quality to be expected of a network's prediction for one volume; costs a pass for each of :func:`changes`.

    Args:
        network: of the pieces' plan.
        pieces: of one volume; z-scored, 0 beyond the scan.
        probabilities: what they gave as they came, [N, classes, H, W], where that is known.
        batch_size: pieces in a batch at most, as in the prediction.
        calibration: of the network's task.

    Raises:
        InputError: probabilities of another shape.
    """
    images = torch.from_numpy(np.stack([volume[:][:, :1] for volume in pieces.volumes]))[0]
    came = pieces.probabilities(network, batch_size) if probabilities is None else probabilities
    marked = came.argmax(1)

    def predict(changed: Tensor) -> Tensor:
        return Pieces([changed.numpy()], pieces.plan).probabilities(network, batch_size)

    others = (predict(changed).roll((-rows, -rows), (-2, -1)) for changed, rows in changes(images))
    found = find_agreement(came, others)
    if (share := float((marked > 0).double().mean())) > MOST_MARKED:
        nothing_known = judge([0.0] * len(found), calibration, pieces.plan.organs)
        return replace(nothing_known, warning=f"{share:.1%} of all voxels are marked: the model is not for this scan")
    present = [bool((marked == organ).any()) for organ in range(1, came.shape[1])]
    return judge(
        [value if there else 0.0 for value, there in zip(found, present, strict=True)], calibration, pieces.plan.organs
    )


def changes(images: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Changed images, one after the other: a gamma curve, sharper edges, softer ones, noise, a shift.

    Voxels of exactly 0 are taken for padding: gamma and noise leave them 0.

    Args:
        images: all slices [N, C, H, W], float, z-scored by volume.

    Returns:
        Images of the same shape, and by how many pixels each lies lower and more to the right than before.
    """
    inside = images != 0
    yield _with_gamma(images, inside, GAMMA), 0
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)  # slices may be far apart
    yield images + SHARPENING * (images - blurred), 0
    yield blurred, 0
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    yield images + NOISE * noise * inside, 0
    yield images.roll((SHIFT, SHIFT), (-2, -1)), SHIFT


def find_agreement(probabilities: Tensor, others: Iterable[Tensor]) -> list[float]:
    """Mean over others of the fuzzy Dice with them, of each foreground class, in [0, 1].

    Args:
        probabilities: [N, classes, ...], the background first.
        others: of the same shape, such as those of changed images, or of other experts.

    Raises:
        InputError: fewer than two classes, no others, or one of another shape.
    """
    if probabilities.ndim < 3 or probabilities.shape[1] < 2:
        raise InputError(
            f"quality: expected probabilities [N, classes, H, W] of background and organs, got "
            f"{list(probabilities.shape)}; give all classes"
        )
    one, values = probabilities[:, 1:].double(), []
    axes = [axis for axis in range(one.ndim) if axis != 1]
    for other in others:
        if other.shape != probabilities.shape:
            raise InputError(
                f"quality: expected predictions of one shape {list(probabilities.shape)}, got {list(other.shape)}; "
                "give those of the same slices"
            )
        two = other[:, 1:].double()
        values.append(2 * torch.minimum(one, two).sum(axes) / (one.sum(axes) + two.sum(axes)).clamp_min(1e-12))
    if not values:
        raise InputError("quality: expected predictions to compare with, got none; give one at least")
    return [float(value) for value in torch.stack(values).mean(0)]


def judge(
    agreement: Sequence[float], calibration: Calibration = PUBLISHED, names: Sequence[str] | None = None
) -> Quality:
    """Predicted Dice and warning from the agreement of each organ, 0 where it is not marked.

    Args:
        agreement: of each organ, in [0, 1].
        calibration: of the task.
        names: of the organs; by default their numbers.
    """
    names = names or [f"organ {number}" for number in range(1, 1 + len(agreement))]
    organs = tuple(calibration.predict(value) for value in agreement)
    worst = min(range(len(organs)), key=organs.__getitem__)
    warning = ""
    if organs[worst] < calibration.threshold:
        where = f" of {names[worst]}" if len(organs) > 1 else ""
        told = f"predicted Dice{where} {organs[worst]:.2f}, below {calibration.threshold:.2f}"
        warning = f"{told}: do not use this result without looking at every slice"
        if not agreement[worst]:
            warning = f"{names[worst]} is marked nowhere: look at the scan" if where else "nothing is marked"
    return Quality(sum(organs) / len(organs), organs, tuple(agreement), warning)


def doubt(quality: Quality, own_dice: float | None, distance: float | None, contrast: str, threshold: float) -> Quality:
    """A quality with what is known of the model itself, which its agreement with itself does not tell.

    Args:
        quality: predicted of one volume.
        own_dice: mean Dice in test volumes of the site that the model, or the models it is mixed from, learned at; in
            [0, 1]. Below the threshold nothing better is predicted.
        distance: of the site from the federation, see :func:`flare_mri.routing.statistics.find_distance`.
        contrast: what :func:`flare_mri.inference.contrast.warn_of_contrast` says of the scan.
        threshold: below which a person is warned.
    """
    told, dice = [quality.warning] if quality.warning else [], quality.dice
    if own_dice is not None and own_dice < threshold:
        where = "in the test volumes of the hospitals it learned at"
        told, dice = [f"the model has Dice {own_dice:.2f} {where}: it has not learned this well"], min(dice, own_dice)
    if distance is not None and distance > FAR:
        told.append(
            f"scans here are unlike those of the federation's hospitals, {distance:.1f} times as far from them as they "
            "are from one another: is data.spatial_size the federation's? look at every slice"
        )
    told += [contrast] if contrast else []
    return replace(quality, dice=dice, warning="; ".join(told))


def _with_gamma(images: Tensor, inside: Tensor, gamma: float) -> Tensor:
    """(x - least) / (most - least) to a power, and back to mean 0 and standard deviation 1; padding stays 0."""
    if not inside.any():
        return images
    values = images[inside]
    least, most = values.min(), values.max()
    values = ((values - least) / (most - least).clamp_min(1e-12)) ** gamma
    changed = images.clone()
    changed[inside] = (values - values.mean()) / values.std(correction=0).clamp_min(1e-12)
    return changed
