# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of segmentation: identities of partly labelled data, unknown voxels and deep supervision."""

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss
from monai.networks.nets import DynUNet, SegResNetDS
from torch import Tensor

from flare_mri.config.segmentation import IGNORED, SegmentationPlan
from flare_mri.errors import InputError
from flare_mri.training.segmentation_loss import SegmentationLoss

PLAN = SegmentationPlan(organs=("liver", "spleen", "kidney"))
ALL = (1, 2, 3)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Logits, images and labels of two slices."""
    torch.manual_seed(0)
    return (
        torch.randn(2, 4, 16, 16, dtype=torch.float64),
        torch.zeros(2, 3, 16, 16),
        torch.randint(0, 4, (2, 1, 16, 16)),
    )


@pytest.mark.parametrize(("name", "monai"), [("dice", DiceLoss), ("dice_ce", DiceCELoss)])
def test_fully_labelled_it_is_monais(batch: tuple[Tensor, ...], name: str, monai: type) -> None:
    expected = monai(softmax=True, to_onehot_y=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)(batch[0], batch[2])
    assert SegmentationLoss(name, PLAN, ALL)(*batch) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("name", ["dice", "dice_ce"])
def test_organs_that_are_not_labelled_are_background_to_the_loss(batch: tuple[Tensor, ...], name: str) -> None:
    logits, images, label = batch
    seen = torch.where(label == 2, 2, 0)  # of three organs the site labels the spleen
    partial = SegmentationLoss(name, PLAN, (2,))
    other = logits.clone()
    other[:, [0, 1, 3]] = torch.log(logits[:, [0, 1, 3]].exp().flip(1))  # move probability among what is background
    assert float(partial(other, images, seen)) == pytest.approx(float(partial(logits, images, seen)), rel=1e-9)
    merged = torch.stack([logits[:, [0, 1, 3]].logsumexp(1), logits[:, 2]], 1)
    alone = SegmentationLoss(name, SegmentationPlan(organs=("spleen",)), (1,))(merged, images, seen // 2)
    assert float(partial(logits, images, seen)) == pytest.approx(float(alone), rel=1e-9)
    assert float(partial(logits, images, seen)) != pytest.approx(float(SegmentationLoss(name, PLAN, ALL)(*batch)))


@pytest.mark.parametrize("name", ["dice", "dice_ce"])
def test_voxels_of_unknown_truth_do_not_count(batch: tuple[Tensor, ...], name: str) -> None:
    logits, images, label = batch
    label[:, :, 8:] = IGNORED
    loss = SegmentationLoss(name, PLAN, ALL)
    changed = logits.clone()
    changed[:, :, 8:] = 50 * torch.randn(2, 4, 8, 16, dtype=logits.dtype)
    assert float(loss(changed, images, label)) == pytest.approx(float(loss(logits, images, label)), rel=1e-9)
    known = loss(logits[:, :, :8], images[:, :, :8], label[:, :, :8])
    assert float(loss(logits, images, label)) == pytest.approx(float(known), rel=1e-9)
    everything = loss(logits.requires_grad_(), images, torch.full_like(label, IGNORED))
    everything.backward()
    assert torch.isfinite(everything) and not logits.grad.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["DynUNet", "SegResNetDS"])
def test_every_output_of_deep_supervision_counts_half_as_much_as_the_one_before(kind: str, dims: int) -> None:
    torch.manual_seed(0)
    shared = {"spatial_dims": dims, "in_channels": 1, "out_channels": 4}
    network = (
        DynUNet(**shared, kernel_size=[3] * 4, strides=[1, 2, 2, 2], upsample_kernel_size=[2] * 3, filters=[4] * 4,
                deep_supervision=True, deep_supr_num=2)
        if kind == "DynUNet"
        else SegResNetDS(**shared, init_filters=4, blocks_down=(1, 1, 1), dsdepth=2, norm="BATCH")
    )  # fmt: skip
    images, label = torch.randn(2, 1, *[16] * dims), torch.randint(0, 4, (2, 1, *[16] * dims))
    loss, output = SegmentationLoss("dice_ce", PLAN, ALL), network.train()(images)
    outputs = list(output.unbind(1)) if isinstance(output, Tensor) else output
    targets = [torch.nn.functional.interpolate(label.float(), one.shape[2:], mode="nearest-exact") for one in outputs]
    parts = [
        float(loss(one, torch.zeros(2, 1, *one.shape[2:]), target.long()))
        for one, target in zip(outputs, targets, strict=True)
    ]
    weights = [0.5**level for level in range(len(parts))]
    expected = sum(w * part for w, part in zip(weights, parts, strict=True)) / sum(weights)
    assert len(parts) > 1 and float(loss(output, images, label)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(network.eval()(images), images, label)) > 0


def test_other_outputs_are_refused(batch: tuple[Tensor, ...]) -> None:
    with pytest.raises(
        InputError, match=r"logits \[2, 4, 16, 16\] \(background and liver, spleen, kidney\), got \[2, 3"
    ):
        SegmentationLoss("dice", PLAN, ALL)(batch[0][:, :3], batch[1], batch[2])
