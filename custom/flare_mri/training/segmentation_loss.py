# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""Losses of segmentation: soft Dice, cross-entropy beside it, partly labelled data, deep supervision."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.losses import DeepSupervisionLoss
from monai.losses.utils import compute_tp_fp_fn
from torch import Tensor, nn

from flare_mri.config.segmentation import IGNORED, SegmentationPlan
from flare_mri.datasets.pieces import check_logits
from flare_mri.training.data_parallel import sum_over_processes

_EPSILON = 1e-5


class SegmentationLoss(nn.Module):
    r"""Soft Dice over softmax classes, in `dice_ce` with the voxels' mean cross-entropy added.

    $1 - \frac{1}{C} \sum_c (2 \sum p_c y_c + \epsilon) / (\sum p_c + \sum y_c + \epsilon)$, sums over *all pixels of a
    batch*, all classes with the background, $\epsilon = 10^{-5}$, is IOP-FL's (arXiv 2204.08467). Where a site labels
    only some of the organs, the others' probabilities count as background, for there they lie in its labels (marginal
    loss; Shi et al., Medical Image Analysis 2021, arXiv 2007.03868). Voxels of which the truth is not known are left
    out. Of a network with deep supervision every output counts, each half as much as the one before.

    Args:
        name: `dice` or `dice_ce`.
        plan: of the network.
        labelled: classes of the organs that the site labels.
    """

    def __init__(self, name: str, plan: SegmentationPlan, labelled: Sequence[int]):
        super().__init__()
        self.plan, self.labelled = plan, list(labelled)
        self.missing = [0] + [number for number in range(1, plan.classes) if number not in labelled]
        self._cross_entropy = name == "dice_ce"
        self._deep = DeepSupervisionLoss(self._of_one)  # type: ignore[arg-type]

    def forward(self, output: Any, images: Tensor, label: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            output: logits [B, classes, ...], or those of several resolutions: a list, the whole one first, or
                [B, outputs, classes, ...] as MONAI's DynUNet gives them.
            images: that the network was given, [B, channels, ...].
            label: classes [B, 1, ...], int64.

        Raises:
            InputError: the network gives something else.
        """
        if isinstance(output, Tensor) and output.ndim == images.ndim + 1:
            output = list(output.unbind(1))
        if not isinstance(output, (list, tuple)):
            return self._of_one(check_logits(output, images, self.plan), label)
        check_logits(output[0], images, self.plan)
        weights = sum(0.5**level for level in range(len(output)))
        return self._deep(list(output), label.float()) / weights

    def _of_one(self, logits: Tensor, label: Tensor) -> Tensor:
        label = label.long()
        if len(self.missing) > 1:
            background = logits[:, self.missing].logsumexp(1, keepdim=True)
            logits = torch.cat([background, logits[:, self.labelled]], dim=1)
            numbers = torch.zeros(256, dtype=torch.int64, device=label.device)
            numbers[[*self.labelled, IGNORED]] = torch.tensor(
                [*range(1, 1 + len(self.labelled)), IGNORED], device=label.device
            )
            label = numbers[label]
        known = label != IGNORED
        truth = F.one_hot((label * known)[:, 0], logits.shape[1]).movedim(-1, 1).to(logits.dtype)
        loss = _soft_dice(logits.softmax(1) * known, truth * known)
        if self._cross_entropy:
            entropy = F.cross_entropy(logits, label[:, 0], ignore_index=IGNORED, reduction="sum")
            entropy, voxels = sum_over_processes(torch.stack([entropy, known.sum().to(entropy.dtype)]))
            loss = loss + entropy / voxels.clamp(min=1)
        return loss


def _soft_dice(probabilities: Tensor, truth: Tensor) -> Tensor:
    """MONAI's ``DiceLoss(batch=True)``, to the bit, whose sums are those of the samples of all processes."""
    axes = [0, *range(2, probabilities.ndim)]
    found = sum_over_processes(torch.stack(compute_tp_fp_fn(probabilities, truth, axes, 1, False)))
    hits, surplus, missed = found[0], 0.5 * found[1], 0.5 * found[2]
    score = (2 * hits + _EPSILON) / (2 * (hits + surplus + missed) + _EPSILON)
    return (1 - score).mean()
