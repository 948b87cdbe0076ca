# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores against slow NumPy."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from skimage.metrics import peak_signal_noise_ratio

from flare_mri.errors import InputError
from flare_mri.metrics.reconstruction import PSNR_CAP, VolumeMetrics


def slow_ssim(one, two, data_range):
    """Wang et al. 2004 with a 7x7 uniform window and sample covariances, over the pixels where the window fits in."""
    windows = [sliding_window_view(image, (7, 7)).reshape(-1, 49) for image in (one, two)]
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for a, b in zip(*windows, strict=True):
        (var_a, covariance), (_, var_b) = np.cov(a, b)
        luminance = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
        values.append(luminance * (2 * covariance + c2) / (var_a + var_b + c2))
    return np.mean(values)


@pytest.fixture
def volumes():
    """Two volumes of different size and scale: name -> (predictions, targets)."""
    rng = np.random.default_rng(0)
    made = {}
    for name, shape, scale in [("a", (2, 16, 20), 1.0), (7, (5, 12, 11), 3e-5)]:
        target = scale * rng.random(shape) * np.arange(1, shape[0] + 1)[:, None, None]
        made[name] = (target + 0.1 * scale * rng.standard_normal(shape), target)
    return made


def fill(volumes):
    metrics = VolumeMetrics()
    for name, (predictions, targets) in volumes.items():
        for prediction, target in zip(predictions, targets, strict=True):
            metrics.add(name, prediction, target)
    return metrics


def test_scores_equal_slow_numpy(volumes):
    nmse, psnr, ssim, whole = [], [], [], []
    for predictions, targets in volumes.values():
        top = targets.max()
        nmse.append(np.linalg.norm(predictions - targets) ** 2 / np.linalg.norm(targets) ** 2)
        mse = ((predictions - targets) ** 2).mean((1, 2))
        psnr.append(np.mean(10 * np.log10(top**2 / mse)))
        whole.append(10 * np.log10(top**2 / mse.mean()))
        ssim.append(np.mean([slow_ssim(p, t, top) for p, t in zip(predictions, targets, strict=True)]))
    scores = fill(volumes).aggregate()
    expected = {"nmse": nmse, "psnr": psnr, "ssim": ssim, "volume_psnr": whole}
    assert scores == pytest.approx({name: np.mean(values) for name, values in expected.items()}, rel=1e-6)
    assert scores["volume_psnr"] < scores["psnr"]
    assert all(type(score) is float for score in scores.values())


def test_psnr_of_slices_and_of_volumes_are_the_published_codes(volumes):
    """FedMRI's util/metric.py and fastMRI's evaluate.py, both through skimage."""
    by_slice, by_volume = [], []
    for predictions, targets in volumes.values():
        top = targets.max()
        parts = zip(predictions, targets, strict=True)
        by_slice.append(np.mean([peak_signal_noise_ratio(t, p, data_range=top) for p, t in parts]))
        by_volume.append(peak_signal_noise_ratio(targets, predictions, data_range=top))
    scores = fill(volumes).aggregate()
    assert scores["psnr"] == pytest.approx(np.mean(by_slice), rel=1e-12)
    assert scores["volume_psnr"] == pytest.approx(np.mean(by_volume), rel=1e-12)


def test_the_order_of_slices_does_not_matter(volumes):
    metrics = VolumeMetrics()
    order = [(name, index) for name, (_, targets) in volumes.items() for index in range(len(targets))]
    for name, index in order[::-1]:
        metrics.add(name, volumes[name][0][index], volumes[name][1][index])
    assert metrics.aggregate() == pytest.approx(fill(volumes).aggregate())


def test_scores_do_not_depend_on_a_volumes_scale(volumes):
    scaled = {name: (100 * predictions, 100 * targets) for name, (predictions, targets) in volumes.items()}
    assert fill(scaled).aggregate() == pytest.approx(fill(volumes).aggregate())


def test_what_is_added_is_copied(volumes):
    expected = fill(volumes).aggregate()
    metrics, buffer = VolumeMetrics(), {}
    for name, (predictions, targets) in volumes.items():
        for prediction, target in zip(predictions, targets, strict=True):
            reused = buffer.setdefault(name, np.empty_like(prediction))
            reused[:] = prediction
            metrics.add(name, reused, target)
    assert metrics.aggregate() == pytest.approx(expected)


def test_identical_slices_count_as_the_cap():
    image = np.random.default_rng(0).random((10, 10))
    metrics = VolumeMetrics()
    metrics.add(0, image, image)
    assert metrics.aggregate() == {
        "nmse": 0.0,
        "psnr": PSNR_CAP,
        "ssim": pytest.approx(1.0),
        "volume_psnr": PSNR_CAP,
    }
    metrics.add(0, image + 0.1 * image.max(), image)
    assert metrics.aggregate()["psnr"] == pytest.approx((PSNR_CAP + 20) / 2)
    assert metrics.aggregate()["volume_psnr"] == pytest.approx(20 + 10 * np.log10(2))


def test_reset(volumes):
    metrics = fill(volumes)
    metrics.reset()
    with pytest.raises(InputError, match="at least one slice"):
        metrics.aggregate()


def test_a_nan_is_not_hidden(volumes):
    volumes["a"][0][0, 3, 3] = np.nan
    assert all(np.isnan(score) for score in fill(volumes).aggregate().values())
    volumes["a"][0][0, 3, 3] = np.inf
    scores = fill(volumes).aggregate()
    assert scores["psnr"] == scores["volume_psnr"] == -np.inf


@pytest.mark.parametrize(
    ("prediction", "target"), [((8, 8), (8, 9)), ((1, 8, 8), (1, 8, 8)), ((6, 20), (6, 20)), ((64,), (64,))]
)
def test_wrong_shapes(prediction, target):
    with pytest.raises(InputError, match=r"volume 'v'.*one shape \[H, W\]"):
        VolumeMetrics().add("v", np.ones(prediction), np.ones(target))


def test_an_empty_volume():
    metrics = VolumeMetrics()
    metrics.add("v", np.ones((8, 8)), np.zeros((8, 8)))
    with pytest.raises(InputError, match="volume 'v'.*above 0"):
        metrics.aggregate()
