# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Organs by name: from the values of label files to the classes of a job."""

import json

import numpy as np
import pytest

from flare_mri.config.segmentation import IGNORED, SegmentationPlan
from flare_mri.datasets.segmentation import SegmentationData

RNG = np.random.default_rng(0)


@pytest.fixture
def organs(tmp_path, write_nifti, load):
    """A site of two cases with values 1, 2, 3 and 9 in its labels, and further settings of `data`."""

    def organs(text):
        rows = {"training": [], "test": []}
        for name in rows:
            label = np.zeros((16, 20, 6), np.uint8)
            label[2:6, 2:6, 1:3], label[8:12, 2:6, 2:4], label[2:6, 10:16, 3], label[14, 18] = 1, 2, 3, 9
            write_nifti(tmp_path / f"{name}.nii.gz", RNG.normal(100, 20, label.shape))
            write_nifti(tmp_path / f"{name}_label.nii.gz", label)
            rows[name] = [{"image": f"{name}.nii.gz", "label": f"{name}_label.nii.gz"}]
        names = {"0": "background", "1": "Liver", "2": "Right kidney", "3": "spleen", "9": "vessel"}
        (tmp_path / "datalist.json").write_text(json.dumps({**rows, "labels": names}))
        return load(f"data: {{format: decathlon, root: ., {text}}}")

    return organs


@pytest.mark.parametrize("fit", ["pad, spatial_size: [16, 24]", "resize, spatial_size: [32, 40]"])
def test_organs_get_the_jobs_classes_by_name(organs, fit):
    plan = SegmentationPlan(organs=("kidney", "liver", "stomach"))
    labels = "labels: {liver: 1, kidney: [2, 3]}, ignore_label: 9"
    data = SegmentationData(organs(f"{labels}, fit: {fit}"), seed=0, plan=plan)
    assert data.organs.labelled == (1, 2) and data.organs.missing == ("stomach",)
    assert (
        data.describe()["organs"] == ["kidney", "liver"] and "not labelled here: stomach" in data.describe()["notes"][0]
    )
    label = np.stack([item["label"][0] for item in data.test])
    assert sorted(np.unique(label)) == [0, 1, 2, IGNORED]
    scale = 4 if "resize" in fit else 1
    assert [int((label == number).sum()) for number in (2, 1)] == [scale * 2 * 16, scale * (2 * 16 + 24)]
    np.testing.assert_array_equal(data.test.truth(2), label[2])


def test_the_names_of_a_list_are_taken_where_the_settings_name_none(organs):
    config = organs("slices: {start: 0}")
    data = SegmentationData(config, seed=0, plan=SegmentationPlan(organs=("right_kidney", "spleen")))
    assert data.organs.labelled == (1, 2) and data.organs.missing == ()
    assert sorted({int(n) for item in data.test for n in item["label"].unique()}) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "organ", "told"),
    [
        ("labels: {liver: 1}", "liver", ["its label", "expected 0 and 1, got 5 values (0, 1, 2, 3, 9)", "data.labels"]),
        ("labels: {liver: 1, rest: [2, 3, 9]}", "colon", ["data.labels", "job's organs (colon), got liver, rest"]),
        ("labels: {liver: 1, rest: [1, 2]}", "liver", ["data.labels", "every value once"]),
        ("labels: {liver: 1}, ignore_label: 1", "liver", ["data.ignore_label", "a value of no organ"]),
        ("labels: {liver: 1}, merge_labels: true", "liver", ["data.merge_labels", "false beside data.labels"]),
    ],
)
def test_labels_that_do_not_fit_are_told_in_one_line(organs, refused, text, organ, told):
    plan = SegmentationPlan(organs=(organ,))
    refused(lambda: SegmentationData(organs(text), seed=0, plan=plan), "site-1", *told)


def test_a_site_without_labels_takes_part_whatever_the_organs(prostate):
    plan = SegmentationPlan(organs=("liver", "kidney"))
    data = SegmentationData(prostate(labelled=False), seed=0, plan=plan)
    assert data.organs.labelled == () and data.describe()["organs"] == []
    assert not any("not labelled here" in note for note in data.describe()["notes"])
