# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets for segmentation."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from flare_mri.datasets.segmentation import SegmentationData

PHANTOM = (
    "data: {format: phantom, subjects: 4, spatial_size: [32, 32]}\n"
    "split: {train: 0.5, validation: 0.25, test: 0.25, by: volume}"
)
RNG = np.random.default_rng(0)


def test_the_centre_channel_is_the_labelled_slice_and_end_slices_are_repeated(prostate):
    data = SegmentationData(prostate(), seed=0)
    for number, volume in enumerate(data.volumes):
        items = [item for item in data.outside if item["volume"] == number]
        assert [item["slice"] for item in items] == [1, 2, 4]
        slices = [volume.slices[index] for index in range(3)]
        for item, channels, own in zip(items, ([0, 0, 1], [0, 1, 2], [1, 2, 2]), slices, strict=True):
            np.testing.assert_array_equal(item["image"], np.stack([slices[channel][0] for channel in channels]))
            np.testing.assert_array_equal(item["label"][0], own[1])
            assert item["label"].sum() == 24


def test_a_site_of_inverted_contrast_gives_negatives(prostate, load):
    split = "{train: 0.5, validation: 0.25, test: 0.25}"
    as_stored = SegmentationData(prostate(split=split), seed=0)
    turned = SegmentationData(
        load(f"data: {{format: prostate, root: secret, slices: labelled, inverted: true}}\nsplit: {split}"), 0
    )
    for one, other in zip(as_stored.train, turned.train, strict=True):
        torch.testing.assert_close(other["image"], -one["image"])
        assert torch.equal(other["label"], one["label"])
    assert turned.fingerprint() != as_stored.fingerprint()


def test_types_and_batches(prostate):
    batch = next(iter(DataLoader(SegmentationData(prostate(), 0).train, batch_size=4)))
    assert {key: (tuple(value.shape), value.dtype) for key, value in batch.items()} == {
        "image": ((4, 3, 16, 20), torch.float32),
        "label": ((4, 1, 16, 20), torch.int64),
        "volume": ((4,), torch.int64),
        "slice": ((4,), torch.int64),
    }


def test_volumes_are_divided_and_never_shared(prostate):
    data = SegmentationData(prostate(), seed=0)
    parts = [{volume for volume, _ in part.indices} for part in (data.train, data.validation, data.test)]
    assert [len(part) for part in parts] == [2, 1, 1] and len(set.union(*parts)) == 4
    assert len(data.outside) == 12 == len(data.train) + len(data.validation) + len(data.test)
    others = [SegmentationData(prostate(), seed).test.indices for seed in range(5)]
    assert any(other != data.test.indices for other in others)


def test_the_list_decides(listed):
    data = SegmentationData(listed(training=[3, 1], validation=[4], test=[2]), seed=0)
    assert data.volume_names == ["case3", "case1", "case4", "case2"]
    assert [len(part) for part in (data.train, data.validation, data.test)] == [4, 2, 2]
    assert data.train.indices == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert data.describe()["split_by"] == "list"


def test_volumes_of_a_list_as_it_is_downloaded_are_divided(listed):
    data = SegmentationData(listed(training=list(range(1, 11)), test=[-11]), seed=0)
    assert len(data.volumes) == 10 and data.describe()["split_by"] == "volume"
    assert [len(part.used) for part in (data.train, data.validation, data.test)] == [7, 1, 2]


def test_whole_volumes_are_taken_unless_only_labelled_slices_are_asked_for(prostate):
    data = SegmentationData(prostate(slices="{start: 0, stop: 5}"), seed=0)
    items = [item for item in data.outside if item["volume"] == 0]
    assert [item["slice"] for item in items] == [0, 1, 2, 3, 4]
    assert [bool(item["label"].any()) for item in items] == [False, True, True, False, True]
    assert data.volumes[0].marked == (False, True, True, False, True)


def test_an_epoch_has_no_more_slices_without_an_organ_than_with_one(prostate):
    data = SegmentationData(prostate(slices="{start: 0}"), seed=0)
    assert len(data.epoch(0)) == len(data.train) == 12  # three of six slices hold it
    for volume in data.volumes:
        object.__setattr__(volume, "marked", (False, True, False, False, False, False))
    drawn = [[data.epoch(seed)[place]["slice"] for place in range(4)] for seed in range(4)]
    assert all(sum(number == 1 for number in numbers) == 2 for numbers in drawn) and len(set(map(tuple, drawn))) > 1
    assert drawn[0] == [data.epoch(0)[place]["slice"] for place in range(4)] and len(data.epoch(0)) == 4


def test_an_outside_site_has_test_volumes_only(listed, caplog):
    data = SegmentationData(listed(test=[1, 2]), seed=0)
    assert len(data.train) == 0 and len(data.test) == len(data.outside) == 4 and data.test.labelled
    assert "an outside site" in caplog.text and data.describe()["notes"] == ["no training volumes: an outside site"]


@pytest.mark.parametrize("name", ["prostate", "decathlon"])
def test_an_outside_site_without_labels_gives_all_slices(prostate, listed, name):
    config = prostate(2, labelled=False) if name == "prostate" else listed(test=[-1, -2])
    data = SegmentationData(config, seed=0)
    assert len(data.outside) == sum(len(volume.kept) for volume in data.volumes) == len(data.test)
    assert not data.outside.labelled and "label" not in data.outside[0] and not len(data.train)
    assert not data.describe()["labelled"] and "no labels" in data.describe()["notes"][0]


def test_the_phantom_end_to_end(load):
    data = SegmentationData(load(PHANTOM), seed=0)
    assert data.shape == (32, 32) and data.volume_names[0] == "subject-00"
    assert {item["volume"] for item in data.train}.isdisjoint(item["volume"] for item in data.test)
    assert {bool(item["label"].any()) for item in data.outside} == {True, False}
    assert data.test.spacing(0) == pytest.approx((4.0, 180 / 32, 180 / 32))
    again = SegmentationData(load(PHANTOM), seed=0)
    assert all(torch.equal(one["image"], two["image"]) for one, two in zip(data.test, again.test, strict=True))


def test_data_sets_can_be_sent_to_worker_processes(load):
    test = SegmentationData(load(PHANTOM), seed=0).test
    assert torch.equal(pickle.loads(pickle.dumps(test))[0]["image"], test[0]["image"])


def test_the_description_holds_no_path_and_no_name(prostate):
    data = SegmentationData(prostate(split="{train: 0.5, validation: 0, test: 0.5}"), seed=0)
    assert data.validation is data.test
    assert data.describe() == {
        "format": "prostate",
        "volumes": 4,
        "slices": {"train": 6, "validation": 6, "test": 6},
        "spatial_size": [16, 20],
        "fit": "pad",
        "split_by": "volume",
        "labelled": True,
        "organs": ["organ"],
        "augmentation": [],
        "notes": ["no validation volumes: the test volumes choose the best model too"],
    }


def test_what_is_wrong_is_said_before_any_round(load, refused, listed, prostate):
    by_slice = load(PHANTOM.replace("by: volume", "by: slice"))
    refused(lambda: SegmentationData(by_slice, 0), "site 'site-1'", "split.by", "expected volume")
    no_test = listed(training=[1], validation=[2])
    refused(lambda: SegmentationData(no_test, 0), "site 'site-1'", "data.datalist", "under test")
    unlabelled = listed(training=[1], validation=[3], test=[-2])
    refused(lambda: SegmentationData(unlabelled, 0), "site 'site-1'", "labels at a site that")
    refused(lambda: SegmentationData(listed(training=[1], test=[-2]), 0), "site 'site-1'", "split.", "1 subjects")
    refused(lambda: SegmentationData(listed(test=[1, -2]), 0), "site 'site-1'", "case2", "a label as the other")
    refused(lambda: SegmentationData(prostate(1), 0), "site 'site-1'", "split.", "1 subjects by volume")


@pytest.mark.parametrize(
    ("orientation", "axis", "within"), [("RAS", 2, 0), ("ARS", 2, 1), ("RAS", 1, 0), ("RAS", 0, None), ("ASR", 1, 1)]
)
def test_left_and_right_are_known_from_the_orientation(tmp_path, write_nifti, load, orientation, axis, within):
    label = np.zeros((16, 16, 16), np.uint8)
    label[4:8, 4:8, 4:8] = 1
    for number in range(2):
        write_nifti(tmp_path / f"Case{number}.nii.gz", RNG.normal(100, 20, label.shape))
        write_nifti(tmp_path / f"Case{number}_seg.nii.gz", label)
    data = f"format: prostate, root: ., orientation: {orientation}, slice_axis: {axis}, augmentation: [flip]"
    config = load(f"data: {{{data}}}\nsplit: {{train: 0.5, validation: 0, test: 0.5, by: volume}}")
    train, mirrored = SegmentationData(config, seed=0).train, set()
    for seed in range(6):
        item = SegmentationData(config, seed=0).epoch(seed)[0]
        plain = next(one["image"] for one in train if one["slice"] == item["slice"])
        if not torch.equal(item["image"], plain):
            mirrored.add(next(at for at in (0, 1) if torch.equal(item["image"], plain.flip(at + 1))))
    assert mirrored == ({within} if within is not None else set())
