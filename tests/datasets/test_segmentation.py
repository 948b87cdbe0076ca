# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets for segmentation."""

import json
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from flare_mri.datasets.segmentation import SegmentationData, SliceImages

PHANTOM = (
    "data: {format: phantom, subjects: 4, spatial_size: [32, 32]}\n"
    "split: {train: 0.5, validation: 0.25, test: 0.25, by: volume}"
)
RNG = np.random.default_rng(0)


@pytest.fixture
def prostate(tmp_path, write_nifti, load):
    """Writes `count` cases with label in slices 1, 2 and 4 of 6; returns their settings."""

    def prostate(count=4, labelled=True, split="{train: 0.5, validation: 0.25, test: 0.25}"):
        for number in range(count):
            image, label = RNG.normal(100, 20, (16, 20, 6)), np.zeros((16, 20, 6), np.uint8)
            label[4 + number : 8 + number, 6:12, [1, 2, 4]] = 1
            write_nifti(tmp_path / f"secret/Case{number:02d}.nii.gz", image)
            if labelled:
                write_nifti(tmp_path / f"secret/Case{number:02d}_Segmentation.nii.gz", label)
        return load(f"data: {{format: prostate, root: secret}}\nsplit: {split}")

    return prostate


@pytest.fixture
def listed(tmp_path, write_nifti, load):
    """Writes a Decathlon list with the given sections of case numbers; a negative number is an unlabelled case."""

    def listed(**sections):
        content = {}
        for section, numbers in sections.items():
            content[section] = []
            for number in numbers:
                image, label = RNG.normal(100, 20, (16, 20, 4)), np.zeros((16, 20, 4), np.uint8)
                label[4:8, 6:12, 1:3] = 1
                name = f"case{abs(number)}"
                write_nifti(tmp_path / f"{name}.nii.gz", image)
                write_nifti(tmp_path / f"{name}_label.nii.gz", label)
                labels = {"label": f"{name}_label.nii.gz"} if number > 0 else {}
                content[section].append({"image": f"{name}.nii.gz", **labels})
        (tmp_path / "datalist.json").write_text(json.dumps(content))
        return load("data: {format: decathlon, root: .}")

    return listed


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


def test_images_alone_as_a_sequence(prostate):
    dataset = SegmentationData(prostate(), 0).outside
    images = SliceImages(dataset)
    assert len(images) == len(list(images)) == 12
    assert torch.equal(images[-1], dataset[11]["image"]) and len(images[3:5]) == 2
    assert torch.equal(torch.stack(images[3:5])[1], dataset[4]["image"])


def test_the_phantom_end_to_end(load):
    data = SegmentationData(load(PHANTOM), seed=0)
    assert data.shape == (32, 32) and data.volume_names[0] == "subject-00"
    assert {item["volume"] for item in data.train}.isdisjoint(item["volume"] for item in data.test)
    assert all(item["label"].any() for item in data.outside)
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
        "augmentation": [],
        "notes": ["no validation volumes: the test volumes choose the best model too"],
    }


def test_what_is_wrong_is_said_before_any_round(load, refused, listed, prostate):
    by_slice = load(PHANTOM.replace("by: volume", "by: slice"))
    refused(lambda: SegmentationData(by_slice, 0), "site 'site-1'", "split.by", "expected volume")
    refused(lambda: SegmentationData(listed(training=[1]), 0), "site 'site-1'", "data.datalist", "under test")
    refused(lambda: SegmentationData(listed(training=[1], test=[-2]), 0), "site 'site-1'", "labels at a site that")
    refused(lambda: SegmentationData(listed(test=[1, -2]), 0), "site 'site-1'", "case2", "a label as the other")
    refused(lambda: SegmentationData(prostate(1), 0), "site 'site-1'", "split.", "1 subjects by volume")
