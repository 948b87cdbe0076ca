# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets for reconstruction."""

import json
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.datasets.reconstruction_slices import ReconstructionDataset

PHANTOM = (
    "data: {format: phantom, subjects: 4, spatial_size: [32, 32]}\nsplit: {train: 0.5, validation: 0.25, test: 0.25}"
)


@pytest.fixture
def mask(volume):
    mask = np.random.default_rng(1).random(volume.shape[1:]) < 0.5
    mask[10, 12] = True
    return mask


def test_items_against_numpy(volume, mask):
    item = ReconstructionDataset([volume, 3 * volume], {mask.shape: mask}, [(0, 0), (1, 4)], keys=("kspace", "mask"))[1]
    image = 3 * volume[4]
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image), norm="ortho")) * mask
    zero_filled = np.abs(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace), norm="ortho")))
    mean, std = zero_filled.mean(), zero_filled.std(ddof=1)
    assert (item["volume"], item["slice"]) == (1, 4)
    np.testing.assert_allclose(item["offset"], mean, rtol=1e-5)
    np.testing.assert_allclose(item["scale"], std, rtol=1e-5)
    np.testing.assert_allclose(item["image"][0], (zero_filled - mean) / std, atol=1e-4)
    np.testing.assert_allclose(item["target"][0], (image - mean) / std, atol=1e-4)
    np.testing.assert_allclose(item["kspace"][0], kspace / std, atol=1e-3)
    np.testing.assert_array_equal(item["mask"][0], mask)


def test_types_and_batches(volume, mask):
    dataset = ReconstructionDataset(
        [volume], {mask.shape: mask}, [(0, index) for index in range(6)], keys=("kspace", "mask")
    )
    batch = next(iter(DataLoader(dataset, batch_size=4)))
    shapes = {name: tuple(value.shape) for name, value in batch.items()}
    assert shapes == {
        "image": (4, 1, 20, 24),
        "target": (4, 1, 20, 24),
        "offset": (4,),
        "scale": (4,),
        "volume": (4,),
        "slice": (4,),
        "kspace": (4, 1, 20, 24),
        "mask": (4, 1, 20, 24),
    }
    floats = {name for name, value in batch.items() if value.dtype == torch.float32}
    assert floats == set(shapes) - {"volume", "slice", "kspace", "mask"}
    assert batch["kspace"].dtype == torch.complex64 and batch["mask"].dtype == torch.bool
    assert "kspace" not in ReconstructionDataset([volume], {mask.shape: mask}, [(0, 0)])[0]


def test_a_slice_of_zeros_stays_finite(volume, mask):
    item = ReconstructionDataset([0 * volume], {mask.shape: mask}, [(0, 0)])[0]
    assert item["image"].abs().max() == 0 and item["target"].abs().max() == 0 and item["scale"] > 0


def test_the_phantom_end_to_end(load):
    data = ReconstructionData(load(PHANTOM), seed=0)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 6, 6)
    assert data.shape == (32, 32) and data.volume_names[0] == "subject-00"
    subjects = [{data.train.indices[0][0]}, {volume for volume, _ in data.test.indices}]
    assert not subjects[0] & subjects[1]
    for item in data.train:
        assert item["image"].shape == (1, 32, 32)
        assert item["image"].mean().abs() < 1e-5 and abs(item["image"].std() - 1) < 1e-4
        assert (item["target"] * item["scale"] + item["offset"]).min() > -1e-5
    assert "kspace" in ReconstructionData(load(PHANTOM), seed=0, keys=("kspace", "mask")).test[0]


def test_data_sets_can_be_sent_to_worker_processes(load):
    test = ReconstructionData(load(PHANTOM), seed=0).test
    sent = pickle.loads(pickle.dumps(test))
    assert torch.equal(sent[0]["image"], test[0]["image"])


def test_the_seed_orders_the_subjects(load):
    indices = [ReconstructionData(load(PHANTOM), seed).test.indices for seed in (0, 0, 1, 2, 3)]
    assert indices[0] == indices[1]
    assert any(indices[0] != other for other in indices[2:])


def test_the_description_holds_no_path_and_no_name(load, tmp_path, volume, write_dicom):
    for name in ("Muster_Anna", "Muster_Bert"):
        for index in range(6):
            pixels = (100 * volume[index]).astype(np.uint16)
            position = [0, 0, index]
            path = tmp_path / "secret" / name / f"{index}.dcm"
            write_dicom(path, pixels, PatientID=name, ImagePositionPatient=position)
    config = load(
        "data: {format: dicom, root: secret}\n"
        "split: {train: 0.5, validation: 0, test: 0.5}\nmask: {kind: gaussian, acceleration: 5}"
    )
    data = ReconstructionData(config, seed=0)
    assert data.describe() == {
        "kspace": "simulated",
        "coils": 1,
        "format": "dicom",
        "subjects": 2,
        "volumes": 2,
        "slices": {"train": 6, "validation": 6, "test": 6},
        "spatial_size": [20, 24],
        "split_by": "slice",
        "mask": {"kind": "gaussian", "acceleration": 5.0},
        "augmentation": [],
        "notes": ["no validation slices: the test slices choose the best model too"],
    }
    assert "Muster" not in json.dumps(data.describe())
    assert data.volume_names == ["Muster_Anna", "Muster_Bert"]


def test_without_validation_the_test_slices_serve_and_it_is_said(load, caplog):
    data = ReconstructionData(load(PHANTOM.replace("0.25, test: 0.25", "0, test: 0.5")), seed=0)
    assert data.validation is data.test
    assert "no validation slices" in caplog.text and "site-1" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {format: nifti, root: .}", ["data.root", "NIfTI files", "got none"]),
        (
            "data: {format: phantom, subjects: 2, spatial_size: [32, 32]}",
            ["split.", "at least one slice", "2 subjects"],
        ),
        (PHANTOM + "\nmask: {kind: random, acceleration: 30}", ["mask", "random at 32x32", "lower"]),
        (PHANTOM + "\nmask: {kind: file, path: mask.npy}", ["mask.npy", "images' size 32x32", "got 16x16"]),
        (PHANTOM + "\ncache: {folder: mask.npy}", ["cache.folder", "mask.npy"]),
    ],
)
def test_what_is_wrong_is_said_before_any_round(load, refused, tmp_path, text, words):
    np.save(tmp_path / "mask.npy", np.ones((16, 16)))
    refused(lambda: ReconstructionData(load(text), seed=0), "site 'site-1'", *words)


def test_test_slices_that_cannot_be_scored(load, refused, tmp_path, volume, write_nifti):
    volume[4:] = 0
    write_nifti(tmp_path / "head.nii", volume)
    config = load("data: {format: nifti, root: ., slice_axis: 0}\nsplit: {train: 0.6, validation: 0, test: 0.4}")
    refused(lambda: ReconstructionData(config, 0), "site 'site-1'", "head", "only zeros", "data.slices")
