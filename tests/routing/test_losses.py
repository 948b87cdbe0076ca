# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The test-time losses against plain NumPy, and the turns against their inverse."""

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from torch import nn

from flare_mri.errors import InputError
from flare_mri.routing.losses import ENTROPY_REDUCTIONS, TestTimeLoss, Turns, consistency, entropy, shape_term

IMAGE, VOLUME = (24, 31), (5, 24, 31)


def _logits(classes: int = 3, size: tuple[int, ...] = IMAGE) -> torch.Tensor:
    return torch.randn(2, classes, *size, generator=torch.Generator().manual_seed(0)) * 3


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("classes", "size"), [(2, IMAGE), (3, IMAGE), (5, IMAGE), (3, VOLUME)])
def test_entropy_equals_numpy(classes, size):
    logits = _logits(classes, size)
    p = _softmax(logits.numpy().astype(np.float64))
    expected = (-(p * np.log(p)).sum(axis=1) / np.log(classes)).mean()
    assert entropy(logits).item() == pytest.approx(expected, rel=1e-5)


def test_entropy_is_one_for_no_idea_and_zero_for_certainty():
    assert entropy(torch.zeros(1, 4, 2, 2)).item() == pytest.approx(1.0)
    certain = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_()
    value = entropy(certain)
    value.backward()
    assert value.item() == 0.0 and torch.isfinite(certain.grad).all()


def test_entropy_of_one_class_is_an_error():
    with pytest.raises(InputError, match="at least 2 classes"):
        entropy(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("size", [IMAGE, VOLUME])
def test_consistency_equals_numpy(size):
    p, q = _softmax(_logits(size=size).numpy()), _softmax(_logits(size=size).flip(0).numpy())
    value = consistency(torch.from_numpy(p), torch.from_numpy(q)).item()
    assert value == pytest.approx(((p - q) ** 2).mean(), rel=1e-5)


@pytest.mark.parametrize("reach", [1, 10])
@pytest.mark.parametrize("size", [IMAGE, VOLUME])
def test_shape_term_equals_the_range_in_each_window_of_a_slice(size, reach):
    p = torch.from_numpy(_softmax(_logits(size=size).numpy()))
    window = (1,) * len(size) + (2 * reach + 1, 2 * reach + 1)
    foreground = p[:, 1:].numpy()
    outside = {"mode": "constant", "cval": -np.inf}
    spread = maximum_filter(foreground, window, **outside) - minimum_filter(
        foreground, window, mode="constant", cval=np.inf
    )
    assert shape_term(p, reach).item() == pytest.approx(
        1e-6 * np.sqrt((spread.astype(np.float64) ** 2).sum()), rel=1e-5
    )


def test_shape_term_of_a_constant_is_zero_with_finite_gradient():
    p = torch.full((1, 2, 8, 8), 0.5, requires_grad=True)
    value = shape_term(p)
    value.backward()
    assert value.item() == 0.0 and torch.isfinite(p.grad).all()


@pytest.mark.parametrize("shape", [(40, 2, 5, 5), (40, 2, 4, 6), (40, 2, 3, 5, 5), (40, 2, 4, 4, 6)])
def test_turns_have_an_exact_inverse(shape):
    images = torch.randn(shape)
    turns = Turns.draw(images, torch.Generator().manual_seed(0))
    assert torch.equal(turns.undo(turns.apply(images)), images)
    assert not torch.equal(turns.apply(images), images)
    assert set(turns.quarters.tolist()) == ({0, 1, 2, 3} if shape[-2] == shape[-1] else {0, 2})
    assert set(turns.flips.tolist()) == {True, False}


@pytest.mark.parametrize("size", [(5, 5), (3, 5, 5)])
def test_turns_are_numpy_flips_and_quarter_turns_of_every_slice(size):
    images = torch.randn(8, 1, *size)
    turns = Turns(flips=torch.tensor([False, True]).repeat(4), quarters=torch.arange(4).repeat_interleave(2))
    for image, turned, flip, quarters in zip(images, turns.apply(images), turns.flips, turns.quarters, strict=True):
        for plain, result in zip(image.view(-1, 5, 5).numpy(), turned.view(-1, 5, 5).numpy(), strict=True):
            np.testing.assert_array_equal(result, np.rot90(plain[::-1] if flip else plain, int(quarters)))


@pytest.mark.parametrize(("network", "size"), [(nn.Conv2d(3, 2, 1), (16, 16)), (nn.Conv3d(3, 2, 1), (3, 16, 16))])
def test_loss_is_the_weighted_sum_of_its_terms(network, size):
    torch.manual_seed(0)
    images = torch.randn(4, 3, *size)
    loss, terms = TestTimeLoss()(network, images)
    assert loss.item() == pytest.approx(10 * terms["entropy"] + 0.1 * terms["consistency"] + terms["shape"], rel=1e-5)
    assert terms["entropy"] == pytest.approx(entropy(network(images)).item(), rel=1e-5)


@pytest.mark.parametrize("batch", [2, 8])
def test_published_entropy_counts_half_a_batch_times_as_much(batch):
    network, images = nn.Conv2d(3, 2, 1), torch.randn(batch, 3, 16, 16)
    values = {}
    for reduction in ENTROPY_REDUCTIONS:
        torch.manual_seed(0)
        values[reduction] = TestTimeLoss(entropy_reduction=reduction)(network, images)
    assert values["mean"][1] == values["published"][1], "the terms that are told are the same"
    more = values["published"][0].item() - values["mean"][0].item()
    assert more == pytest.approx((batch / 2 - 1) * 10 * values["mean"][1]["entropy"], rel=1e-5, abs=1e-7)
    with pytest.raises(InputError, match="entropy_reduction: expected mean or published, got 'sum'"):
        TestTimeLoss(entropy_reduction="sum")


def test_a_pointwise_network_is_consistent_under_turns_but_not_under_noise():
    network, images = nn.Conv2d(3, 2, 1), torch.randn(8, 3, 16, 16)
    assert TestTimeLoss(noise=0.0)(network, images)[1]["consistency"] == pytest.approx(0.0, abs=1e-12)
    assert TestTimeLoss(noise=0.5)(network, images)[1]["consistency"] > 1e-6
