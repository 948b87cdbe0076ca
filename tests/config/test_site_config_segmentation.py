# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""site.yaml of a site with labels, and jobs that do not fit a site."""

import pytest

from flare_mri.config.site import SplitSettings
from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.datasets.volumes import open_volumes
from flare_mri.io.formats import SEGMENTATION


def test_every_key(load, tmp_path):
    (tmp_path / "list.json").write_text("{}")
    config = load(
        "data: {format: datalist_2d, root: ., datalist: list.json, fit: resize, spatial_size: [64, 96], "
        "merge_labels: true, slice_axis: 0}\nbatch_size: 16"
    )
    data = config.data
    assert (data.format, data.root, data.datalist) == ("datalist_2d", tmp_path, tmp_path / "list.json")
    assert (data.fit, data.spatial_size, data.merge_labels, data.slice_axis) == ("resize", (64, 96), True, 0)
    assert data.orientation is None and config.batch_size == 16


def test_defaults(load, tmp_path):
    (tmp_path / "datalist.json").write_text("{}")
    data = load("data: {format: decathlon, root: .}").data
    assert (data.datalist, data.orientation, data.slice_axis) == (tmp_path / "datalist.json", "RAS", 2)
    assert data.find_labels() == {"organ": (1,)} and data.find_fit() == "pad"
    config = load("data: {format: prostate, root: .}")
    assert config.data.find_labels() is None
    assert config.split == SplitSettings(by="volume")


def test_a_list_without_sections_leaves_the_split_to_the_settings(load, tmp_path):
    (tmp_path / "dataset.json").write_text('{"training": [{"image": "a.nii", "label": "b.nii"}], "test": ["c.nii"]}')
    config = load("data: {format: decathlon, root: ., channel: 1}\nsplit: {train: 0.5, validation: 0.2, test: 0.3}")
    assert config.split == SplitSettings(train=0.5, validation=0.2, test=0.3, by="volume")


def test_a_site_that_only_tests(load):
    assert load("data: {format: phantom}\nsplit: {train: 0, validation: 0, test: 1}").split.test == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {format: prostate, root: .}\nmask: {kind: radial}", ["mask", "nothing", "segmentation", "remove it"]),
        ("data: {format: decathlon, root: .}\nsplit: {train: 0.5}", ["split", "nothing", "data list", "remove it"]),
        ("data: {format: decathlon, root: ., datalist: no.json}", ["data.datalist", "JSON file", "no.json"]),
        ("data: {format: datalist_2d, root: .}", ["data.datalist", "got nothing", "add this key"]),
        ("data: {format: prostate, root: ., fit: stretch}", ["data.fit", "'pad' or 'resize'", "'stretch'"]),
        ("data: {format: prostate, root: ., merge_labels: true}", ["data.merge_labels", "unknown key"]),
        ("data: {format: decathlon, root: ., merge_labels: 1}", ["data.merge_labels", "true or false", "1"]),
        ("data: {format: fastmri, root: ., fit: pad}", ["data.fit", "unknown key"]),
        ("data: {format: fastmri, root: .}\nsplit: {train: 0, validation: 0, test: 1}", ["split.train", "above 0"]),
    ],
)
def test_a_wrong_file_is_named_with_key_and_fix(load, refused, tmp_path, text, words):
    (tmp_path / "datalist.json").write_text("{}")
    refused(lambda: load(text), "site 'site-1'", str(tmp_path / "site.yaml"), *words)


def test_jobs_that_do_not_fit_the_data(load, refused):
    prostate, fastmri = load("data: {format: prostate, root: .}"), load("data: {format: fastmri, root: .}")
    refused(lambda: ReconstructionData(prostate, 0), "site 'site-1'", "reconstruction job", "'prostate'", "fastmri")
    refused(lambda: SegmentationData(fastmri, 0), "site 'site-1'", "segmentation job", "'fastmri'", "decathlon")
    refused(lambda: open_volumes(fastmri, SEGMENTATION), "data.format", "phantom, prostate")
