# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""The loss an outside site learns from without labels (IOP-FL; Jiang et al., arXiv 2204.08467):

.. math:: 10\,H + 0.1\,C + S

the entropy H of the prediction, its consistency C under noise, flips and 90 degree rotations, and its shape S.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from flare_mri.errors import InputError
from flare_mri.routing.norm import forward_views

ENTROPY_REDUCTIONS = ("mean", "published")


def entropy(logits: Tensor) -> Tensor:
    r"""Mean over pixels of :math:`H = -\sum_c p_c \log p_c / \log(\mathrm{classes})`, in [0, 1].

    Args:
        logits: [B, classes, H, W] or, of volumes, [B, classes, D, H, W], before the softmax over classes.

    Returns:
        A scalar: 0 where every pixel is certain, 1 where all classes are equally likely.

    Raises:
        InputError: fewer than two classes.
    """
    classes = logits.shape[1]
    if classes < 2:
        raise InputError(
            f"entropy: expected at least 2 classes (background is one), got {classes}; "
            "build the network with out_channels=2"
        )
    log_p = logits.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1).mean() / math.log(classes)


def consistency(probabilities: Tensor, transformed: Tensor) -> Tensor:
    """Mean squared difference of two predictions [B, classes, (D,) H, W] of the same pixels; gradients flow to both."""
    return F.mse_loss(probabilities, transformed)


def shape_term(probabilities: Tensor, reach: int = 10, scale: float = 1e-6) -> Tensor:
    r""":math:`S = 10^{-6} \lVert \mathrm{maxpool}(p) + \mathrm{maxpool}(-p) \rVert_2` over the foreground classes.

    The sum is the range (maximum less minimum) of p in each pixel's neighbourhood, so that S grows with the length of
    the borders: it favours one compact organ. The neighbourhood of a voxel lies in its slice, the last two axes: S of a
    volume is that of its slices as so many images, the published term. Across slices, which in MRI are often several
    times as thick as a pixel is wide, the same reach would span most of the organ.

    Args:
        probabilities: p, [B, classes, H, W] or [B, classes, D, H, W], class 0 the background.
        reach: of the neighbourhood in pixels; the window is 2 * reach + 1 wide.
        scale: the factor before the norm.
    """
    foreground = probabilities[:, 1:].flatten(1, -3)  # slices beside classes, for neither meets its neighbours
    return scale * torch.linalg.vector_norm(_local_maximum(foreground, reach) + _local_maximum(-foreground, reach))


def _local_maximum(x: Tensor, reach: int) -> Tensor:
    """Max pooling [B, C, H, W] with stride 1 over a square, one axis after the other: 42 comparisons, not 441."""
    width = 2 * reach + 1
    rows = F.max_pool2d(x, (1, width), stride=1, padding=(0, reach))
    return F.max_pool2d(rows, (width, 1), stride=1, padding=(reach, 0))


@dataclass(frozen=True)
class Turns:
    """For each image of a batch a flip (upside down) followed by some quarter turns, both within the last two axes.

    All slices of a volume are turned alike and stay in their order.

    Attributes:
        flips: bool [B].
        quarters: int [B], 0 to 3.
    """

    flips: Tensor
    quarters: Tensor

    @classmethod
    def draw(cls, images: Tensor, generator: Generator | None = None) -> "Turns":
        """Random turns for ``images`` [B, C, (D,) H, W]. Where H and W differ only half turns, which keep the size."""
        size, step = (len(images),), 1 if images.shape[-2] == images.shape[-1] else 2
        flips = torch.randint(2, size, generator=generator).bool()
        quarters = step * torch.randint(4 // step, size, generator=generator)
        return cls(flips.to(images.device), quarters.to(images.device))

    def apply(self, images: Tensor) -> Tensor:
        """[B, C, (D,) H, W] -> the same shape, turned."""
        return self._rotate(self._flip(images), 1)

    def undo(self, images: Tensor) -> Tensor:
        """The exact inverse of :meth:`apply`: pixels are moved, never interpolated."""
        return self._flip(self._rotate(images, -1))

    def _flip(self, images: Tensor) -> Tensor:
        return torch.where(_for_each(self.flips, images), images.flip(-2), images)

    def _rotate(self, images: Tensor, direction: int) -> Tensor:
        turned = images
        for quarter in self.quarters.unique().tolist():
            if quarter:
                chosen = _for_each(self.quarters == quarter, images)
                turned = torch.where(chosen, images.rot90(direction * quarter, (-2, -1)), turned)
        return turned


def _for_each(flags: Tensor, images: Tensor) -> Tensor:
    """[B] -> [B, 1, ...], with as many axes as ``images``."""
    return flags.view(-1, *[1] * (images.dim() - 1))


@dataclass(frozen=True)
class TestTimeLoss:
    """The loss of the test-time adaptation; the defaults are the paper's.

    Attributes:
        entropy_weight, consistency_weight, shape_weight: factors of H, C and S.
        noise: standard deviation of the Gaussian noise of the second view, in units of the normalised image.
        reach: of the shape term's neighbourhood, in pixels.
        entropy_reduction: "mean", H as :func:`entropy` has it, the mean over all pixels; or "published", as the
            published code has it, which sums over the batch: B / 2 times that for a batch of B images, 4 at B = 8. The
            terms that are returned hold the mean in both cases, so that batches can be compared.

    Raises:
        InputError: another `entropy_reduction`.
    """

    __test__ = False  # the name is the paper's: this is no test for pytest to collect

    entropy_weight: float = 10.0
    consistency_weight: float = 0.1
    shape_weight: float = 1.0
    noise: float = 0.5
    reach: int = 10
    entropy_reduction: str = "mean"

    def __post_init__(self) -> None:
        if self.entropy_reduction not in ENTROPY_REDUCTIONS:
            raise InputError(
                f"entropy_reduction: expected {' or '.join(ENTROPY_REDUCTIONS)}, got {self.entropy_reduction!r:.40}"
            )

    def __call__(self, network: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Runs ``network`` on ``images`` [B, C, (D,) H, W] and on their second view, noisy and turned, in one pass.

        Returns:
            The loss, and its terms before weighting: "entropy", "consistency", "shape".

        Raises:
            InputError: as :func:`flare_mri.routing.norm.forward_views`.
        """
        turns = Turns.draw(images)
        changed = turns.apply(images + self.noise * torch.randn_like(images))
        logits, changed_logits = forward_views(network, images, changed)
        probabilities, second = logits.softmax(dim=1), turns.undo(changed_logits.softmax(dim=1))
        h, c, s = entropy(logits), consistency(probabilities, second), shape_term(probabilities, self.reach)
        batch = len(images) / 2 if self.entropy_reduction == "published" else 1
        loss = self.entropy_weight * batch * h + self.consistency_weight * c + self.shape_weight * s
        return loss, {"entropy": h.item(), "consistency": c.item(), "shape": s.item()}
