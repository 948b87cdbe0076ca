# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The protocol: what may cross the wire, and what is done with that which may not."""

from typing import Any

import numpy as np
import pytest

from flare_mri.flare.protocol import (
    MAX_METRICS,
    RECONSTRUCTION_METRICS,
    SEGMENTATION_METRICS,
    problem_in_metrics,
)
from flare_mri.metrics.reconstruction import VolumeMetrics
from flare_mri.metrics.segmentation import SegmentationMetrics


def test_the_metrics_that_exist_are_listed() -> None:
    image = np.random.default_rng(0).random((16, 16))
    reconstruction = VolumeMetrics()
    reconstruction.add("volume", image, image)
    assert reconstruction.aggregate().keys() <= set(RECONSTRUCTION_METRICS)
    segmentation = SegmentationMetrics(organs={"liver": 1, "left-kidney_2": 2})
    for number, label in enumerate((np.eye(8, dtype=np.uint8), np.zeros((8, 8), np.uint8))):
        segmentation.add("volume", number, label, label)
    of_organs = {f"{metric}.{organ}" for metric in ("dice", "hd95") for organ in ("liver", "left-kidney_2")}
    assert segmentation.aggregate().keys() == {*SEGMENTATION_METRICS, *of_organs}
    for metric in (*RECONSTRUCTION_METRICS, *SEGMENTATION_METRICS, *of_organs):
        for name in (
            "validation",
            "personal/test",
            "zero_filled/test",
            "l1_espirit/test",
            "expert-12/test",
            "routing/test",
        ):
            assert not problem_in_metrics({f"{name}/{metric}": 0.5}), metric


@pytest.mark.parametrize(
    "metrics, told",
    [
        ({"test/invented": 1.0}, "metric 'test/invented' is not listed"),
        ({"global/test/psnr2": 1.0}, "is not listed"),
        ({f"routing/weight/l{i}/0": 0.5 for i in range(MAX_METRICS + 1)}, "4097 metrics, expected at most 4096"),
        ({"train/loss": 10**400}, "metric 'train/loss' is an integer beyond every number of ours"),
        ({"train/loss": 10**5000}, "metric 'train/loss' is an integer beyond every number of ours"),
        ({"slices/train": 1e9}, "metric 'slices/train' is 1000000000.0, expected a whole number of at most 10000000"),
        ({"wire/sent": 1.7e308}, "metric 'wire/sent' is 1.7e+308, expected at most 1e+12"),
        ({"slices/test": 12.5}, "metric 'slices/test' is 12.5, expected a whole number"),
        ({"slices/test": -1}, "metric 'slices/test' is -1, expected a whole number"),
        ({"refused/optimizer": 3.0}, "metric 'refused/optimizer' is 3.0, expected 1"),
        ({"refused/patient": 1.0}, "is not listed"),
        ({"data/phantom": 4.0}, "metric 'data/phantom' is 4.0, expected 1"),
        ([("train/loss", 1.0)], "metrics are a list"),
    ],
    ids=range(13),
)
def test_metrics_that_may_not_cross(metrics: Any, told: str) -> None:
    assert told in problem_in_metrics(metrics)


def test_what_a_policy_refuses_may_cross() -> None:
    parts = ("method", "shared_layers", "network", "optimizer")
    assert not problem_in_metrics({f"refused/{name}": 1.0 for name in parts})
