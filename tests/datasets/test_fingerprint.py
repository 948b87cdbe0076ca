# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data that are others, or divided otherwise, have another fingerprint; the same elsewhere have the same."""

import os
import shutil

import numpy as np
import pytest

from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.io import phantom

SPLIT = "split: {train: 0.5, validation: 0.25, test: 0.25, by: %s}"
NIFTI = f"data: {{format: nifti, root: %s, slice_axis: 0}}\n{SPLIT % 'volume'}"
PROSTATE = f"data: {{format: prostate, root: %s%s}}\n{SPLIT % 'volume'}"
PHANTOM = f"data: {{format: phantom, subjects: 4, spatial_size: [32, 32]}}\n{SPLIT % 'volume'}"
LIST = '{"training": [%s, %s], "validation": [%s], "test": [%s]}'


@pytest.fixture
def heads(tmp_path, write_nifti, volume):
    """Four subjects in `one`."""
    for number in range(4):
        write_nifti(tmp_path / "one" / f"sub-{number}.nii", volume + number)
    return tmp_path / "one"


@pytest.fixture
def organs(tmp_path, write_nifti):
    """Four labelled cases in `one`."""
    for number in range(4):
        image, label = np.random.default_rng(number).normal(100, 20, (16, 20, 6)), np.zeros((16, 20, 6), np.uint8)
        label[4 + number : 8 + number, 6:12, [1, 2, 4]] = 1
        write_nifti(tmp_path / "one" / f"Case{number:02d}.nii.gz", image)
        write_nifti(tmp_path / "one" / f"Case{number:02d}_segmentation.nii.gz", label)
    return tmp_path / "one"


def test_files_that_are_copied_touched_or_moved_keep_it(heads, load, tmp_path):
    first = ReconstructionData(load(NIFTI % "one"), 0).fingerprint()
    assert len(first) == 64 and set(first) <= set("0123456789abcdef")
    assert ReconstructionData(load(NIFTI % "one"), 0).fingerprint() == first
    shutil.copytree(heads, tmp_path / "elsewhere" / "two")
    os.utime(heads / "sub-0.nii", (1e9, 1e9))
    for root in ("one", "elsewhere/two"):
        assert ReconstructionData(load(NIFTI % root), 0).fingerprint() == first


def test_new_content_changes_it(heads, load, write_nifti, volume):
    first = ReconstructionData(load(NIFTI % "one"), 0).fingerprint()
    state = (heads / "sub-0.nii").stat()
    changed = volume.copy()
    changed[5, 19, 23] += 1e-3  # one voxel, in the last corner
    write_nifti(heads / "sub-0.nii", changed)
    os.utime(heads / "sub-0.nii", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert ReconstructionData(load(NIFTI % "one"), 0).fingerprint() != first


def test_another_division_changes_it(heads, load, write_nifti, volume):
    def of(text=NIFTI, seed=0):
        return ReconstructionData(load(text % "one"), seed).fingerprint()

    orders = {str(ReconstructionData(load(NIFTI % "one"), seed).train.indices): seed for seed in range(5)}
    found = [of(seed=seed) for seed in orders.values()]
    found.append(of(NIFTI.replace("0.5, validation: 0.25", "0.25, validation: 0.5")))
    found.append(of(NIFTI.replace("by: volume", "by: slice")))
    found.append(of(NIFTI.replace("slice_axis: 0", "slice_axis: 0, slices: {stop: 5}")))
    write_nifti(heads / "sub-9.nii", volume)  # one more patient
    found.append(of())
    (heads / "sub-9.nii").unlink()
    (heads / "sub-3.nii").rename(heads / "sub-8.nii")  # the same volume as of another patient
    found.append(of())
    assert len(orders) > 1 and len(set(found)) == len(found) == len(orders) + 5


def test_two_patients_who_change_places_change_it(heads, load):
    """As many volumes, the same contents, the same names: but a patient goes from training to test."""
    first = ReconstructionData(load(NIFTI % "one"), 0).fingerprint()
    for number in range(4):
        (heads / f"sub-{number}.nii").rename(heads / f"{number}.nii")
    for number in range(4):
        (heads / f"{number}.nii").rename(heads / f"sub-{3 - number}.nii")
    assert ReconstructionData(load(NIFTI % "one"), 0).fingerprint() != first


def test_segmentation(organs, load, tmp_path, write_nifti):
    first = SegmentationData(load(PROSTATE % ("one", "")), 0).fingerprint()
    shutil.copytree(organs, tmp_path / "two")
    assert SegmentationData(load(PROSTATE % ("two", "")), 0).fingerprint() == first
    found = {
        first,
        SegmentationData(load(PROSTATE % ("one", ", fit: resize, spatial_size: [32, 32]")), 0).fingerprint(),
    }
    label = np.zeros((16, 20, 6), np.uint8)
    label[4:8, 6:11, [1, 2, 4]] = 1  # a column less
    write_nifti(organs / "Case00_segmentation.nii.gz", label)
    found.add(SegmentationData(load(PROSTATE % ("one", "")), 0).fingerprint())
    (organs / "Case03.nii.gz").unlink()
    (organs / "Case03_segmentation.nii.gz").unlink()
    found.add(
        SegmentationData(load(PROSTATE.replace("0.5", "0.34").replace("0.25", "0.33") % ("one", "")), 0).fingerprint()
    )
    assert len(found) == 4


def test_a_case_that_goes_from_training_to_test_in_the_list(organs, load):
    rows = [
        f'{{"image": "Case{number:02d}.nii.gz", "label": "Case{number:02d}_segmentation.nii.gz"}}'
        for number in range(4)
    ]
    text, found = "data: {format: decathlon, root: one}", []
    for order in ((0, 1, 2, 3), (0, 1, 2, 3), (0, 3, 2, 1)):
        (organs / "datalist.json").write_text(LIST % tuple(rows[place] for place in order))
        found.append(SegmentationData(load(text), 0).fingerprint())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("data", [ReconstructionData, SegmentationData])
def test_the_phantom(load, data, monkeypatch):
    first = data(load(PHANTOM), 0).fingerprint()
    assert data(load(PHANTOM), 0).fingerprint() == first
    assert data(load(PHANTOM.replace("subjects: 4", "subjects: 5")), 0).fingerprint() != first
    if data is ReconstructionData:
        make = phantom.make_phantom
        monkeypatch.setattr(phantom, "PHANTOM_VERSION", -1)
        monkeypatch.setattr(phantom, "make_phantom", lambda site, *rest: make(f"{site}x", *rest))
        assert data(load(PHANTOM), 0).fingerprint() != first
