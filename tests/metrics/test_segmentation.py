# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of segmentations against slow, obvious versions."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from flare_mri.errors import InputError
from flare_mri.metrics.segmentation import (
    OUTSIDE_BATCH,
    TEST_BATCH,
    SegmentationMetrics,
    mean_slice_dice,
    volume_scores,
)

RNG = np.random.default_rng(0)
SPACING = (3.0, 0.5, 0.8)


def blob(shape=(5, 16, 18), centre=(2, 8, 9), radii=(2, 4, 5)):
    axes = np.ogrid[tuple(slice(size) for size in shape)]
    squares = [((axis - middle) / radius) ** 2 for axis, middle, radius in zip(axes, centre, radii, strict=True)]
    return (sum(squares) <= 1).astype(np.uint8)


def surface(mask, spacing):
    """Coordinates in mm of voxels that have a neighbour outside, by definition."""
    padded = np.pad(mask, 1).astype(bool)
    inner = padded.copy()
    for axis in range(mask.ndim):
        inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return (np.argwhere(padded & ~inner) - 1) * np.asarray(spacing)


def slow_hd95(one, two, spacing):
    distances = cdist(surface(one, spacing), surface(two, spacing))
    return max(np.percentile(distances.min(1), 95), np.percentile(distances.min(0), 95))


def slow_slice_dice(predictions, truths, batch):
    batches = []
    for start in range(0, len(truths), batch):
        values = []
        for one, two in zip(predictions[start : start + batch], truths[start : start + batch], strict=True):
            dice = [2 * ((one == c) * (two == c)).sum() / ((one == c).sum() + (two == c).sum() + 1e-5) for c in (0, 1)]
            values.append(sum(dice) / 2)
        batches.append(sum(values) / len(values))
    return sum(batches) / len(batches)


@pytest.mark.parametrize("batch", [1, 4, 7, 8, 64])
def test_slice_dice_against_the_formula(batch):
    predictions, truths = RNG.integers(0, 2, (2, 11, 9, 7))
    expected = slow_slice_dice(predictions, truths, batch)
    assert mean_slice_dice(predictions, truths, batch) == pytest.approx(expected, rel=1e-12)


def test_a_small_last_batch_counts_as_much_as_a_full_one():
    truths = np.tile(np.eye(4, dtype=int), (9, 1, 1))
    predictions = truths.copy()
    predictions[8] = 1 - truths[8]
    assert mean_slice_dice(predictions, truths, OUTSIDE_BATCH) == pytest.approx(0.5, abs=1e-5)
    assert mean_slice_dice(predictions, truths, TEST_BATCH) == pytest.approx(8 / 9, abs=1e-5)
    assert (TEST_BATCH, OUTSIDE_BATCH) == (64, 8)


def test_background_only_gives_half():
    truth = np.zeros((1, 100, 100), int)
    truth[0, 50, 50] = 1
    assert mean_slice_dice(0 * truth, truth) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING])
def test_volume_scores_against_numpy(spacing):
    truth, prediction = blob(), blob(centre=(2, 9, 7), radii=(2, 5, 3))
    dice, hd95 = volume_scores(prediction, truth, spacing)
    assert dice == pytest.approx(2 * (prediction & truth).sum() / (prediction.sum() + truth.sum()), rel=1e-6)
    assert hd95 == pytest.approx(slow_hd95(prediction, truth, spacing), rel=0.05)


@pytest.mark.parametrize(("axis", "voxels"), [(0, 2), (1, 3), (2, 4)])
def test_a_shift_is_as_far_as_its_millimetres(axis, voxels):
    truth = np.zeros((12, 24, 26), np.uint8)
    truth[4:6, 8:12, 8:12] = 1
    flat = np.roll(truth, voxels, axis)
    exact = slow_hd95(flat, truth, SPACING)
    assert volume_scores(flat, truth, SPACING)[1] == pytest.approx(exact, rel=1e-5)
    assert exact <= voxels * SPACING[axis] + 1e-9


def test_identical_volumes():
    assert volume_scores(blob(), blob(), SPACING) == (1.0, 0.0)


def test_one_slice_is_scored_by_its_outline():
    truth, prediction = blob()[2:3], blob(centre=(2, 9, 7))[2:3]
    expected = slow_hd95(prediction[0], truth[0], SPACING[1:])
    assert volume_scores(prediction, truth, SPACING)[1] == pytest.approx(expected, rel=0.05)


def test_nothing_predicted_or_nothing_there_is_never_nan():
    truth, empty = blob(), np.zeros_like(blob())
    diagonal = np.sqrt((5 * 3.0) ** 2 + (16 * 0.5) ** 2 + (18 * 0.8) ** 2)
    assert volume_scores(empty, truth, SPACING) == (0.0, pytest.approx(diagonal))
    assert volume_scores(truth, empty, SPACING) == (0.0, pytest.approx(diagonal))
    assert volume_scores(empty, empty, SPACING) == (1.0, 0.0)


def test_volumes_are_put_together_slice_by_slice():
    metrics, truth = SegmentationMetrics(batch=3), blob()
    predictions = {"a": blob(centre=(2, 9, 8)), "b": np.zeros_like(truth)}
    order = [(name, number) for name in predictions for number in (3, 1, 2)]
    for name, number in order:
        metrics.add(name, number, predictions[name][number], truth[number], SPACING)
    scores = metrics.aggregate()
    expected = [volume_scores(volume[1:4], truth[1:4], SPACING) for volume in predictions.values()]
    assert (scores["dice"], scores["hd95"]) == pytest.approx(tuple(np.mean(expected, axis=0)))
    added = np.stack([predictions[name][number] for name, number in order])
    truths = np.stack([truth[number] for _, number in order])
    assert scores["slice_dice"] == pytest.approx(slow_slice_dice(added, truths, 3), rel=1e-12)
    assert all(np.isfinite(list(scores.values()))) and all(type(value) is float for value in scores.values())


def test_gaps_between_slices_keep_their_millimetres():
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 2:5] = 1
    metrics = SegmentationMetrics()
    metrics.add("a", 0, mask, mask, SPACING)
    metrics.add("a", 4, 0 * mask, mask, SPACING)
    volume = np.zeros((2, 5, 8, 8), np.uint8)
    volume[0, 0] = volume[1, 0] = volume[1, 4] = mask
    assert metrics.aggregate()["hd95"] == pytest.approx(slow_hd95(volume[0], volume[1], SPACING))
    assert metrics.aggregate()["hd95"] > 3 * SPACING[0]


def test_reset_and_wrong_use():
    metrics, mask = SegmentationMetrics(), np.eye(8, dtype=np.uint8)
    with pytest.raises(InputError, match="at least one slice"):
        metrics.aggregate()
    metrics.add("a", 0, mask, mask)
    with pytest.raises(InputError, match="slice 0 once"):
        metrics.add("a", 0, mask, mask)
    with pytest.raises(InputError, match=r"\[8, 8\] and \[8, 7\]"):
        metrics.add("a", 1, mask, mask[:, :7])
    with pytest.raises(InputError, match="one shape"):
        mean_slice_dice(mask[None], mask[None, :7])
    metrics.reset()
    metrics.add("a", 0, 1 - mask, mask)
    assert metrics.aggregate()["dice"] == 0
