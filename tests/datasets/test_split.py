# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Training, validation and test."""

import pytest

from flare_mri.config.site import SplitSettings
from flare_mri.datasets.split import split_slices


@pytest.mark.parametrize("by", ["slice", "volume"])
@pytest.mark.parametrize("counts", [[10] * 10, [12, 14, 43, 10, 11, 9, 30, 20, 21, 22]])
def test_every_slice_once(by, counts):
    subjects = [f"subject-{index}" for index in range(len(counts))]
    parts = split_slices(counts, subjects, SplitSettings(by=by), seed=0)
    everything = [place for part in parts for place in part]
    assert sorted(everything) == [(volume, index) for volume, count in enumerate(counts) for index in range(count)]


def test_by_slice_the_first_train_and_the_last_test():
    parts = split_slices([10, 5], ["a", "b"], SplitSettings(train=0.6, validation=0.2, test=0.2), seed=0)
    assert parts.train == [(0, i) for i in range(6)] + [(1, i) for i in range(3)]
    assert parts.validation == [(0, 6), (0, 7), (1, 3)]
    assert parts.test == [(0, 8), (0, 9), (1, 4)]


@pytest.mark.parametrize(("count", "train"), [(12, 8), (14, 10), (43, 30), (10, 7)])
def test_rounding(count, train):
    parts = split_slices([count], ["a"], SplitSettings(train=0.7, validation=0, test=0.3), seed=0)
    assert (len(parts.train), len(parts.validation)) == (train, 0)


def test_by_volume_no_subject_is_divided():
    subjects = [f"patient-{index // 3}" for index in range(30)]
    splits = [split_slices([4] * 30, subjects, SplitSettings(by="volume"), seed) for seed in (0, 0, 1)]
    for split in splits:
        patients = [{subjects[volume] for volume, _ in part} for part in split]
        assert [len(part) for part in patients] == [7, 1, 2]
        assert not (patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2])
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize(
    ("counts", "settings", "part"),
    [
        ([1, 1], SplitSettings(train=0.7, validation=0.1, test=0.2), "validation"),
        ([2], SplitSettings(train=0.2, validation=0.3, test=0.5), "train"),
        ([5, 5], SplitSettings(train=0.7, validation=0.1, test=0.2, by="volume"), "test"),
    ],
)
def test_an_empty_part(refused, counts, settings, part):
    subjects = [str(index) for index in range(len(counts))]
    refused(lambda: split_slices(counts, subjects, settings, 0), f"split.{part}", "at least one slice", "change")
