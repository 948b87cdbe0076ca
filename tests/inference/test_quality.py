# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The predicted Dice: what must hold of it whatever the calibration, and that it follows a real network's true Dice."""

import pytest
import torch
from monai.losses import DiceLoss
from scipy.stats import spearmanr
from torch import Tensor, nn

from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.datasets.pieces import Pieces
from flare_mri.errors import InputError
from flare_mri.inference.calibration import PUBLISHED, Calibration
from flare_mri.inference.quality import changes, estimate_quality, find_agreement, judge
from flare_mri.networks import build_network

SPEC = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {"in_channels": 3, "out_channels": 2, "norm": "batch", "channels": 4, "num_pools": 2},
}


def certain(labels: Tensor, classes: int = 2) -> Tensor:
    """Probabilities 0 and 1 of labels [N, ...]."""
    return nn.functional.one_hot(labels, classes).movedim(-1, 1).float()


def ball(shape: tuple[int, ...] = (8, 16, 16)) -> Tensor:
    axes = torch.meshgrid(*(torch.linspace(-1, 1, size) for size in shape), indexing="ij")
    return (sum(axis.square() for axis in axes) < 0.5).long()


def pieces_of(volume: Tensor, plan: SegmentationPlan = SegmentationPlan()) -> Pieces:  # noqa: B008 (it is frozen)
    """Of a volume [S, H, W]."""
    return Pieces([volume[:, None].numpy()], plan)


class Threshold(nn.Module):
    """Marks what is brighter than 0.5, in images of any number of axes."""

    def __init__(self, steepness: float = 50.0, classes: int = 2):
        super().__init__()
        self.steepness, self.classes = nn.Parameter(torch.tensor(steepness)), classes

    def forward(self, images: Tensor) -> Tensor:
        value = self.steepness * (images[:, 1:2] - 0.5)
        return torch.cat([torch.zeros_like(value)] + [value / (organ + 1) for organ in range(self.classes - 1)], 1)


class Constant(Threshold):
    """Marks the same whatever the image shows."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[: len(images)].clone()  # windows are weighed in place


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shape", [(8, 16, 16), (2, 8, 16, 16)])
def test_full_agreement_gives_the_top(shape: tuple[int, ...], classes: int) -> None:
    labels = ball(shape[-3:]).expand(shape) * torch.randint(
        1, classes, shape, generator=torch.Generator().manual_seed(0)
    )
    probabilities = certain(labels, classes)
    assert find_agreement(probabilities, [probabilities] * 3) == pytest.approx([1.0] * (classes - 1))
    soft = torch.rand(probabilities.shape).softmax(1)  # uncertain, but always the same
    assert find_agreement(soft, [soft]) == pytest.approx([1.0] * (classes - 1))
    whole = torch.arange(8).remainder(classes).view(8, 1, 1).expand(8, 16, 16)  # shifts too
    plan = SegmentationPlan(organs=tuple("abc"[: classes - 1]), patch_size=None if len(shape) == 3 else (8, 16, 16))
    logits = 50 * certain(whole, classes)
    network = Constant(logits if len(shape) == 3 else logits.movedim(0, 1)[None])
    quality = estimate_quality(network, pieces_of(torch.randn(8, 16, 16), plan), batch_size=16)
    assert quality.dice == pytest.approx(PUBLISHED.predict(1.0)) and not quality.warning
    assert len(quality.organs) == classes - 1


def test_agreement_of_certain_predictions_is_their_dice() -> None:
    one, two = certain(ball()), certain(ball().roll(2, 1))
    both, total = (one[:, 1] * two[:, 1]).sum(), one[:, 1].sum() + two[:, 1].sum()
    assert find_agreement(one, [two]) == pytest.approx([float(2 * both / total)])
    assert find_agreement(one, [one, two]) == pytest.approx([float(1 + 2 * both / total) / 2])


def test_it_falls_with_every_voxel_that_changes() -> None:
    labels, order = ball(), torch.randperm(8 * 16 * 16, generator=torch.Generator().manual_seed(0))
    found = []
    for count in (0, 100, 300, 900, 2048):
        changed = labels.flatten().clone()
        changed[order[:count]] = changed[order[:count]][
            torch.randperm(count, generator=torch.Generator().manual_seed(1))
        ]
        found.append(judge(find_agreement(certain(labels), [certain(changed.view_as(labels))])))
    dices = [quality.dice for quality in found]
    assert dices == sorted(dices, reverse=True) and len(set(dices)) == len(dices)
    assert dices[-1] < 0.3 and found[-1].warning and not found[0].warning


def test_a_prediction_near_its_threshold_is_trusted_less() -> None:
    organ = ball().float()
    noise = 0.2 * torch.randn(organ.shape, generator=torch.Generator().manual_seed(0))
    dices = [
        estimate_quality(Threshold(), pieces_of(contrast * (organ - 0.3) + noise)).dice for contrast in (0.9, 1.2, 2, 5)
    ]
    assert dices == sorted(dices) and dices[0] < dices[-1]


def test_organs_are_judged_one_by_one() -> None:
    calibration = Calibration(0.9, 0.5, 10.0, 0.7)
    quality = judge([1.0, 0.5], calibration)
    low = calibration.predict(0.5)
    assert quality.organs == pytest.approx((0.9, low)) and quality.dice == pytest.approx((0.9 + low) / 2)
    assert f"of organ 2 {low:.2f}" in quality.warning and "below 0.70" in quality.warning
    assert judge([0.0], calibration).warning == "nothing is marked"
    assert "organ 1 is marked nowhere" in judge([0.0, 1.0], calibration).warning
    assert "of liver" in judge([0.5, 1.0], calibration, ("liver", "spleen")).warning
    empty = estimate_quality(Constant(50 * certain(torch.zeros(4, 8, 8).long())), pieces_of(torch.randn(4, 8, 8)))
    assert empty.dice == 0 and empty.warning == "nothing is marked"


def test_changed_images_keep_padding_size_and_scale() -> None:
    images = torch.randn(5, 3, 12, 12)
    images[..., :3] = 0
    made = list(changes(images))
    assert len(made) <= 5  # the cost that is promised
    for changed, shift in made:
        back = changed.roll((-shift, -shift), (-2, -1))
        assert back.shape == images.shape and back.isfinite().all() and torch.equal(back, images) == bool(shift)
        assert not back[..., :2].any() and 0.2 < float(back.std()) < 2.5
    for (one, _), (two, _) in zip(made, changes(images), strict=True):
        assert torch.equal(one, two)
    for flat in (torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)):
        assert all(changed.isfinite().all() for changed, _ in changes(flat))


def test_wrong_input_is_one_line() -> None:
    one = certain(ball())
    with pytest.raises(InputError, match="expected predictions of one shape"):
        find_agreement(one, [one[:4]])
    with pytest.raises(InputError, match="got none"):
        find_agreement(one, [])
    with pytest.raises(InputError, match="of background and organs"):
        find_agreement(one[:, :1], [one[:, :1]])


def images_of(labels: Tensor, contrast: float, noise: float, seed: int) -> Tensor:
    """Slices with their neighbours of a volume whose organ is brighter by `contrast`, z-scored."""
    generator = torch.Generator().manual_seed(seed)
    volume = contrast * labels + noise * torch.randn(labels.shape, generator=generator)
    volume = (volume - volume.mean()) / volume.std()
    return torch.stack([volume.roll(1, 0), volume, volume.roll(-1, 0)], 1)


def test_it_follows_the_true_dice_of_a_trained_network() -> None:
    """A U-Net that knows bright organs meets ever fainter ones, down to inverted contrast."""
    torch.manual_seed(0)
    network = build_network(SPEC, 0)
    labels, loss = ball(), DiceLoss(softmax=True, to_onehot_y=True, batch=True)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(60):
        value = loss(network.train()(images_of(labels, 2.0, 0.5, step)), labels[:, None])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    network.eval()
    true, predicted = [], []
    for number, contrast in enumerate((3.0, 2.0, 1.5, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0, -0.5, -2.0)):
        pieces = pieces_of(images_of(labels, contrast, 0.5, 1000 + number)[:, 1])
        probabilities = pieces.probabilities(network, 16)
        found = probabilities.argmax(1)
        true.append(float(2 * (found * labels).sum() / (found.sum() + labels.sum())))
        predicted.append(estimate_quality(network, pieces, probabilities).dice)
    assert true[1] > 0.8 and min(true) < 0.2
    assert spearmanr(true, predicted).statistic > 0.7
    assert predicted[1] > max(predicted[-4:])


def test_a_network_that_marks_everything_is_not_believed() -> None:
    """It marks the same in every changed image, which would look like a sure one."""

    everything = torch.tensor([-5.0, 5.0])[None, :, None, None].expand(8, 2, 16, 16)
    quality = estimate_quality(Constant(everything), pieces_of(torch.randn(8, 16, 16)))
    assert quality.warning == "100.0% of all voxels are marked: the model is not for this scan"
    assert quality.dice < 0.1
