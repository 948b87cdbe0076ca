# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Every format of the registry: its sample is recognised, found, read as its header says, and printed as a pipeline."""

from pathlib import Path

import numpy as np
import pytest

from data_files import data_settings
from flare_mri.datasets.volumes import build_pipeline
from flare_mri.errors import InputError
from flare_mri.io.formats import FORMATS, sniff_format
from flare_mri.io.load import LoadScand, load_scan_file

IN_FILES = [name for name, entry in FORMATS.items() if entry.write_sample is not None]


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def write(name: str, folder: Path) -> None:
    maker = FORMATS[name].write_sample
    assert maker is not None
    maker(folder, np.random.default_rng(0))


@pytest.mark.parametrize("name", IN_FILES)
def test_a_sample_is_recognised_found_and_read(name: str, sample: Path) -> None:
    write(name, sample)
    assert sniff_format(sample) == name
    entry = FORMATS[name]
    settings = data_settings(name, sample, **entry.sample_keys)
    scans = entry.find(settings, "site-1", entry.tasks[0])
    assert len({scan.name for scan in scans}) == len(scans) >= 2
    for scan in scans:
        image = load_scan_file(scan.image)
        assert tuple(image.shape) == scan.image.geometry().shape and image.meta["origin"] == scan.origin
        assert all(path.is_file() for path in scan.files)
        assert (scan.label is not None) == ("segmentation" in entry.tasks)


def test_another_folder_is_recognised_as_none(sample: Path) -> None:
    (sample / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match="expected a folder of one format"):
        sniff_format(sample)


def test_a_refusal_is_final(sample: Path) -> None:
    """MONAI's own LoadImaged would go on to try its other readers, and read the image beside the broken header."""
    write("nifti", sample)
    path = sample / "sub-02_T1w.nii"
    path.write_bytes(path.read_bytes()[:-50])
    scan = FORMATS["nifti"].find(data_settings("nifti", sample), "site-1", "reconstruction")[1]
    with pytest.raises(InputError, match=r"sub-02_T1w.nii: expected"):
        LoadScand("image")(scan.item())


@pytest.mark.parametrize(("name", "task"), [("nifti", "reconstruction"), ("prostate", "segmentation")])
def test_a_pipeline_can_be_read(name: str, task: str, sample: Path) -> None:
    write(name, sample)
    settings = data_settings(name, sample, spatial_size=[16, 16], spacing=[1, 1, 1])
    names = [type(step).__name__ for step in build_pipeline(task, settings, labelled=True).transforms]
    assert names[0] == "LoadScand" and {"EnsureChannelFirstd", "Orientationd", "Spacingd"} <= set(names)
    last = {"reconstruction": "CropKspaced", "segmentation": "ResizeWithPadOrCropd"}
    assert names[-1] == last[task]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"matrix": [16, 16]}, "data.matrix: expected no such key, since it is called spatial_size now"),
        ({"contrasts": ["a"]}, "data.contrasts: expected no such key, since it is called include now"),
        ({"orientation": "RAX"}, "data.orientation: expected three axis codes such as RAS"),
        ({"orientation": "RLS"}, "data.orientation: expected three axis codes such as RAS"),
        ({"spacing": [1, 1]}, "data.spacing: expected three distances in mm"),
        ({"spacing": [1, 1, 0]}, "data.spacing: expected three distances in mm"),
    ],
)
def test_keys_of_all_formats(keys: dict, words: str, sample: Path) -> None:
    with pytest.raises(InputError) as caught:
        data_settings("nifti", sample, **keys)
    assert words in str(caught.value) and "\n" not in str(caught.value)
