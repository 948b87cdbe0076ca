# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data lists of the Decathlon and of FLARE's 2D prostate example."""

import json

import numpy as np
import pytest
from PIL import Image

from data_files import data_settings, read_image, read_label
from flare_mri.io.datalist_2d import find_datalist_2d
from flare_mri.io.decathlon import find_decathlon, find_unlabelled
from flare_mri.io.formats import sniff_format

IMAGE = np.random.default_rng(0).integers(0, 255, (16, 20, 4)).astype(np.uint8)
LABEL = np.zeros((16, 20, 4), np.uint8)
LABEL[4:8, 5:9] = 1


@pytest.fixture
def settings(tmp_path):
    def settings(content, name="decathlon"):
        path = tmp_path / "datalist.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return data_settings(name, tmp_path, datalist="datalist.json")

    return settings


@pytest.fixture
def volumes(tmp_path, write_nifti):
    for name in ("a", "b", "c"):
        write_nifti(tmp_path / f"imagesTr/{name}.nii.gz", IMAGE)
        write_nifti(tmp_path / f"labelsTr/{name}.nii.gz", LABEL)


def row(name):
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"}


@pytest.fixture
def pictures(tmp_path):
    """FLARE's layout: <site>/Image/<case>/<slice>.png and <site>/Mask/<case>/<slice>.png, white is the organ."""

    def pictures(case, numbers):
        rows = []
        for number in numbers:
            places = {kind: f"I2CVB/{kind}/{case}/{number}.png" for kind in ("Image", "Mask")}
            for kind, array in (("Image", IMAGE[..., number % 4] + number), ("Mask", 255 * LABEL[..., number % 4])):
                path = tmp_path / places[kind]
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array.astype(np.uint8)).save(path)
            rows.append({"image": places["Image"], "label": places["Mask"]})
        return rows

    return pictures


def test_sections_are_those_of_the_list(settings, volumes):
    content = {"name": "x", "training": [row("b")], "validation": [row("a")], "test": [row("c")]}
    cases = find_decathlon(settings(content))
    assert [(case.name, case.section) for case in cases] == [
        ("imagesTr/b", "train"),
        ("imagesTr/a", "validation"),
        ("imagesTr/c", "test"),
    ]
    assert cases[0].image.geometry().shape == (16, 20, 4)
    np.testing.assert_array_equal(read_label(cases[0]), LABEL)


def test_test_rows_may_be_paths_alone_as_in_the_decathlons_own_lists(settings, volumes):
    (case,) = find_decathlon(settings({"test": ["./imagesTr/a.nii.gz"]}))
    assert case.label is None and len(case.files) == 1


DOWNLOADED = {"name": "Prostate", "tensorImageSize": "4D", "modality": {"0": "T2", "1": "ADC"}, "numTraining": 2}


def test_a_list_as_it_is_downloaded_names_volumes_to_divide(tmp_path, volumes, write_nifti):
    content = {**DOWNLOADED, "labels": {"0": "background", "1": "PZ", "2": "left atrium"}}
    content |= {"training": [row("a"), row("b")], "test": ["./imagesTs/that was not unpacked.nii.gz"]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    (tmp_path / "imagesTr" / "._a.nii.gz").write_bytes(b"of macOS")
    settings = data_settings("decathlon", tmp_path)
    assert settings.datalist == tmp_path / "dataset.json" and not settings.is_listed()
    assert settings.find_labels() == {"pz": (1,), "left_atrium": (2,)}
    scans = find_decathlon(settings)
    assert [(scan.name, scan.section) for scan in scans] == [("imagesTr/a", ""), ("imagesTr/b", "")]
    assert sniff_format(tmp_path) == "decathlon"
    new = find_unlabelled(settings.model_copy(update={"root": tmp_path / "imagesTr"}))
    assert [scan.name for scan in new] == ["a", "b", "c"]
    (tmp_path / "datalist.json").write_text(json.dumps({"test": [row("c")]}))
    assert [scan.name for scan in find_decathlon(data_settings("decathlon", tmp_path))] == ["imagesTr/c"]


@pytest.mark.parametrize(
    ("sections", "listed"),
    [
        ({"training": [row("a")]}, False),
        ({"training": [row("a")], "test": ["b"], "testing": [{"image": "c"}]}, False),
        ({"training": [row("a")], "validation": [row("b")]}, True),
        ({"training": [row("a")], "test": ["b", row("c")]}, True),
        ({"training": [row("a")], "testing": [row("c")]}, True),
        ({"test": ["b"]}, True),
        ({"training": "a", "test": 1}, True),
        ({}, True),
    ],
)
def test_which_lists_say_what_is_for_what(settings, sections, listed):
    assert settings(sections).is_listed() == listed
    assert settings(sections, "datalist_2d").is_listed()


def test_one_channel_of_several_is_taken(settings, tmp_path, write_nifti, refused):
    write_nifti(tmp_path / "imagesTr/a.nii.gz", np.stack([IMAGE, IMAGE[::-1]], 3))
    write_nifti(tmp_path / "labelsTr/a.nii.gz", LABEL)
    content = json.dumps({**DOWNLOADED, "training": [row("a")]})
    (scan,) = find_decathlon(settings(content))
    shape, fix = "a 3D volume of real numbers, got shape [16, 20, 4, 2]", "set data.channel"
    refused(lambda: read_image(scan), "a.nii.gz", shape, fix)
    chosen = data_settings("decathlon", tmp_path, datalist="datalist.json", channel=1)
    (scan,) = find_decathlon(chosen)
    np.testing.assert_array_equal(read_image(scan), IMAGE[::-1])
    np.testing.assert_array_equal(read_label(scan), LABEL)
    assert scan.image.geometry().shape == (16, 20, 4)
    (new, *_) = find_unlabelled(chosen.model_copy(update={"root": tmp_path / "imagesTr"}))
    np.testing.assert_array_equal(read_image(new), IMAGE[::-1])
    (scan,) = find_decathlon(chosen.model_copy(update={"channel": 2}))
    refused(lambda: read_image(scan), "a channel 2, got 2", "set data.channel to 0 to 1")
    write_nifti(tmp_path / "imagesTr/a.nii.gz", IMAGE)
    refused(lambda: read_image(scan), "a 4D volume", "[16, 20, 4]", "leave it out")
    refused(lambda: data_settings("decathlon", tmp_path, channel=-1), "data.channel", ">= 0", "-1")


def test_flare_slices_become_volumes_in_order_of_their_numbers(settings, pictures):
    one, two = pictures("Case01", [2, 10, 9]), pictures("Case02", [7])
    cases = find_datalist_2d(settings({"training": one[::-1], "validation": [], "testing": two}, "datalist_2d"))
    assert [(case.name, case.section) for case in cases] == [
        ("I2CVB/Image/Case01", "train"),
        ("I2CVB/Image/Case02", "test"),
    ]
    expected = np.stack([IMAGE[..., n % 4] + n for n in (2, 9, 10)])
    np.testing.assert_array_equal(read_image(cases[0]), np.moveaxis(expected.astype(np.uint8), 0, 2))
    assert np.unique(read_label(cases[0])).tolist() == [0, 255]
    assert cases[0].image.geometry().shape == (16, 20, 3)


def test_other_2d_files_stand_alone_and_3d_files_are_volumes(settings, volumes, tmp_path, write_nifti):
    for name in ("slice_1", "slice_2"):
        write_nifti(tmp_path / f"{name}.nii.gz", IMAGE[..., 0])
        write_nifti(tmp_path / f"{name}_mask.nii.gz", LABEL[..., 0])
    rows = [{"image": f"slice_{n}.nii.gz", "label": f"slice_{n}_mask.nii.gz"} for n in (1, 2)]
    cases = find_datalist_2d(settings({"training": [row("a"), *rows], "testing": [row("b")]}, "datalist_2d"))
    assert [(case.name, read_image(case).shape) for case in cases] == [
        ("imagesTr/a", (16, 20, 4)),
        ("imagesTr/b", (16, 20, 4)),
        ("slice_1", (16, 20, 1)),
        ("slice_2", (16, 20, 1)),
    ]


def test_a_case_in_two_sections(settings, pictures, refused):
    rows = pictures("Case01", [1, 2])
    content = {"training": rows[:1], "testing": rows[1:]}
    refused(lambda: find_datalist_2d(settings(content, "datalist_2d")), "Case01", "test and train", "by cases")


def test_slices_of_different_size(settings, pictures, refused, tmp_path):
    rows = pictures("Case01", [1, 2])
    Image.fromarray(IMAGE[:8, :, 0]).save(tmp_path / rows[1]["image"])
    (case,) = find_datalist_2d(settings({"testing": rows}, "datalist_2d"))
    refused(lambda: read_image(case), "2.png", "[16, 20]", "[8, 20]")


def test_coloured_and_broken_pictures(settings, pictures, refused, tmp_path):
    rows = pictures("Case01", [1, 2])
    Image.fromarray(np.zeros((16, 20, 3), np.uint8)).save(tmp_path / rows[0]["image"])
    (tmp_path / rows[0]["label"]).write_text("no picture")
    (case,) = find_datalist_2d(settings({"testing": rows}, "datalist_2d"))
    refused(lambda: read_image(case), "1.png", "grey values", "[16, 20, 3]")
    refused(lambda: read_label(case), "1.png", "cannot identify image")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{training", ["datalist.json", "line 1: not valid JSON", "correct"]),
        ("[]", ["datalist.json", "a mapping", "a list"]),
        ({"name": "x"}, ["training, validation, test", "got none"]),
        ({"training": {"image": "a"}}, ["training", "a list of rows", "dict"]),
        ({"training": [{"label": "a"}]}, ["training[0]", '"image"']),
        ({"training": [{"image": ["t2.nii", "adc.nii"], "label": "a"}]}, ["training[0]", '"image"']),
        ({"training": ["imagesTr/a.nii.gz"]}, ["training[0]", "a label", "imagesTr/a"]),
        ({"test": [{"image": "imagesTr/a.nii.gz", "label": 1}]}, ["test[0]", "the path of one label"]),
        ({"test": ["imagesTr/no.nii.gz"]}, ["test[0]", "an existing file", "no.nii.gz", "data.root"]),
        ({"training": [row("a")], "test": [row("a")]}, ["test[0]", "each file once", "training[0]"]),
    ],
)
def test_wrong_lists(settings, volumes, refused, content, words):
    refused(lambda: find_decathlon(settings(content)), *words)


@pytest.mark.parametrize("name", ["../x/a.nii.gz", "/x/a.nii.gz", "imagesTr/../../a.nii.gz", "."])
def test_a_list_names_files_of_the_data_root_only(settings, volumes, refused, name):
    refused(lambda: find_decathlon(settings({"test": [name]})), "test[0]", "a file in", name, "data.root")
