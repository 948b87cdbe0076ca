# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The example sites give the images, the split and the zero-filled scores of the published comparison."""

from pathlib import Path

import numpy as np
import pytest

from flare_mri.config.site import load_site_config
from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.metrics.reconstruction import VolumeMetrics

EXAMPLES = Path(__file__).parents[2] / "examples" / "brain"
ZERO_FILLED = {"ge-dicom": 24.37, "siemens-dicom": 20.15, "nifti": 26.38, "fastmri-h5": 24.28}  # PSNR in dB


def test_all_examples_are_tested():
    assert {path.parent.name for path in EXAMPLES.glob("*/site.yaml")} == set(ZERO_FILLED)


@pytest.mark.parametrize("name", ZERO_FILLED)
def test_an_example_reproduces_the_protocol(real_data, monkeypatch, name):
    monkeypatch.setenv("FLARE_MRI_DATA", str(real_data.resolve()))
    data = ReconstructionData(load_site_config(EXAMPLES / name / "site.yaml", "site-1"), seed=0)
    protocol = np.load(real_data / "protocol" / "brain128" / f"{name}.npz")
    places = sorted(data.train.indices + data.test.indices)
    images = np.stack([data.train.volumes[volume][index] for volume, index in places])
    assert np.abs(images - protocol["images"]).max() <= 1e-4 * protocol["images"].max()
    assert [place in data.train.indices for place in places] == protocol["train"].tolist()
    assert np.array_equal(data.train.samples[data.shape].transforms[0].mask[0].numpy(), protocol["mask"])
    metrics = VolumeMetrics()
    for item in data.test:
        image, target = (item[key][0] * item["scale"] + item["offset"] for key in ("image", "target"))
        metrics.add(item["volume"], image.numpy(), target.numpy())
    assert metrics.aggregate()["psnr"] == pytest.approx(ZERO_FILLED[name], abs=0.005)
