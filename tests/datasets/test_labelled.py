# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled volumes: normalised, cut to slices with label, cached, and refused where something is wrong."""

import numpy as np
import pytest

from flare_mri.datasets.volumes import open_volumes
from flare_mri.io.formats import SEGMENTATION
from flare_mri.io.nifti_file import NiftiFile

SITE = "data: {{format: prostate, root: .{}}}\nsplit: {{train: 0.5, validation: 0.25, test: 0.25}}"
IMAGE = np.random.default_rng(0).normal(300, 80, (20, 24, 7))
LABEL = np.zeros(IMAGE.shape, np.uint8)
LABEL[6:12, 8:14, [2, 3, 5]] = 1
LABEL[8, 9, 3] = 2


def open_labelled(config):
    return open_volumes(config, SEGMENTATION)


@pytest.fixture
def site(tmp_path, write_nifti, load):
    """Writes Case00 with the given image and label; returns the settings with `more` in `data`."""

    def site(more="", image=IMAGE, label=LABEL):
        write_nifti(tmp_path / "Case00.nii.gz", image)
        if label is not None:
            write_nifti(tmp_path / "Case00_segmentation.nii.gz", label)
        return load(SITE.format(more))

    return site


def test_slices_with_label_of_the_whole_volumes_z_scores(site):
    (volume,) = open_labelled(site(", slices: labelled, spatial_size: [32, 40]"))
    expected = (IMAGE - IMAGE.mean()) / IMAGE.std()
    assert volume.kept == (2, 3, 5) and volume.labelled and len(volume.slices) == 3
    for place, number in enumerate(volume.kept):
        image, label = volume.slices[place]
        np.testing.assert_allclose(image[6:26, 8:32], expected[..., number], atol=1e-5)
        np.testing.assert_array_equal(label[6:26, 8:32], LABEL[..., number] > 0)
        assert not image[:6].any() and not label[:6].any() and not image[:, :8].any()


def test_without_label_all_slices_are_kept(site):
    (volume,) = open_labelled(site(", slices: {start: 1, step: 2}", label=None))
    assert volume.kept == (1, 3, 5) and not volume.labelled
    assert volume.slices[0].shape == (1, 20, 24)


def test_slice_numbers_are_those_of_the_file(site):
    (volume,) = open_labelled(site(", slices: {start: 3, labelled: true}"))
    assert volume.kept == (3, 5) and volume.marked == (True, True)
    (volume,) = open_labelled(site(", slices: {start: 3}"))
    assert volume.kept == (3, 4, 5, 6) and volume.marked == (True, False, True, False)


def test_files_are_read_once_and_again_when_they_change(site, monkeypatch):
    config, reads = site(", slices: labelled"), []
    read = NiftiFile.read
    monkeypatch.setattr(NiftiFile, "read", lambda image: reads.append(image.path.name) or read(image))
    first = open_labelled(config)[0].slices[1]
    assert reads.count("Case00.nii.gz") == 1
    reads.clear()
    np.testing.assert_array_equal(open_labelled(config)[0].slices[1], first)
    assert not reads
    other = LABEL.copy()
    other[6:12, 8:14, 4] = 1
    assert open_labelled(site(", slices: labelled", label=other))[0].kept == (2, 3, 4, 5)


def test_sites_of_different_sizes_need_a_matrix(site, tmp_path, write_nifti, refused):
    config = site()
    write_nifti(tmp_path / "Case01.nii.gz", IMAGE[:18])
    write_nifti(tmp_path / "Case01_segmentation.nii.gz", LABEL[:18])
    refused(lambda: open_labelled(config), "Case01", "[20, 24] as in case00", "[18, 24]", "set data.spatial_size")
    assert [v.slices.shape for v in open_labelled(site(", spatial_size: [20, 20]"))] == [(7, 2, 20, 20)] * 2


def changed(array, place, value):
    array = np.array(array, np.float32)
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("image", "label", "words"),
    [
        (changed(IMAGE, (3, 4, 5), np.nan), LABEL, ["finite values", "1 NaN", "slice 5"]),
        (changed(IMAGE, (3, 4, 5), np.inf), LABEL, ["finite values"]),
        (np.full(IMAGE.shape, 7.0), LABEL, ["expected an image", "7 everywhere"]),
        (IMAGE, LABEL[:, :, :6], ["the image's shape [20, 24, 7]", "[20, 24, 6]"]),
        (IMAGE, 0 * LABEL, ["a slice with label", "none of 7"]),
        (IMAGE, changed(LABEL, (0, 0, 0), 0.5), ["whole numbers >= 0", "0.5"]),
        (IMAGE, changed(LABEL, (0, 0, 0), -1), ["whole numbers >= 0", "-1"]),
        (IMAGE, changed(LABEL, (0, 0, 0), np.nan), ["whole numbers >= 0", "nan"]),
        (IMAGE, IMAGE.round(), ["whole numbers >= 0", "values (", "give the label"]),
        (IMAGE[None].repeat(2, 0), LABEL, ["[2, 20, 24, 7]", "one volume a file"]),
    ],
)
def test_bad_volumes_are_named(site, refused, image, label, words):
    config = site(", slices: labelled", image, label)
    refused(lambda: [volume.slices[0] for volume in open_labelled(config)], "Case00.nii.gz", *words)


def test_a_crop_that_cuts_label_names_the_case(site, refused):
    wide = LABEL.copy()
    wide[8, 1, 2] = 1
    refused(
        lambda: open_labelled(site(", spatial_size: [16, 16]", label=wide)),
        "Case00_segmentation.nii.gz",
        "1 labelled",
        "resize",
    )
    (volume,) = open_labelled(site(", spatial_size: [16, 16], fit: resize", label=wide))
    assert volume.slices[0].shape == (2, 16, 16)


def test_truncated_files(site, tmp_path, refused):
    config = site()
    path = tmp_path / "Case00_segmentation.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    refused(lambda: open_labelled(config), "Case00_segmentation.nii.gz")


@pytest.mark.parametrize(("name", "white", "good"), [("decathlon", 255, False), ("datalist_2d", 255, True)])
def test_values_of_labels_by_format(tmp_path, write_nifti, load, refused, name, white, good):
    write_nifti(tmp_path / "a.nii", IMAGE)
    write_nifti(tmp_path / "b.nii", np.where(LABEL > 0, white, 0).astype(np.uint8))
    (tmp_path / "list.json").write_text('{"test": [{"image": "a.nii", "label": "b.nii"}]}')
    text = f"data: {{format: {name}, root: ., datalist: list.json%s}}"
    if not good:
        refused(lambda: open_labelled(load(text % "")), "a.nii", "0 and 1", "255", "merge_labels")
        text %= ", merge_labels: true"
    (volume,) = open_labelled(load(text % "" if "%s" in text else text))
    np.testing.assert_array_equal(volume.slices[3][1], LABEL[..., 3] > 0)


@pytest.mark.parametrize(("moved", "good"), [(0.2, True), (3.0, False)])
def test_a_label_that_lies_elsewhere_is_refused(site, tmp_path, write_nifti, refused, moved, good):
    config, affine = site(), np.diag([2.0, 1.0, 4.0, 1.0])
    write_nifti(tmp_path / "Case00.nii.gz", IMAGE, affine=affine)
    affine[0, 3] = moved
    write_nifti(tmp_path / "Case00_segmentation.nii.gz", LABEL, affine=affine)
    if good:
        assert len(open_labelled(config)) == 1
    else:
        refused(lambda: open_labelled(config), "Case00.nii.gz: its label", "corners up to 3.0 mm away", "resample")
