# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The example sites with real labels give the slices of the published comparison."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from flare_mri.config.site import load_site_config
from flare_mri.datasets.segmentation import SegmentationData

EXAMPLES = Path(__file__).parents[2] / "examples" / "hippocampus"
SITES = ["outside-1", "site-1", "site-2", "site-3", "site-4", "site-5"]


def test_all_examples_are_tested():
    assert sorted(path.parent.name for path in EXAMPLES.glob("*/site.yaml")) == SITES


@pytest.mark.parametrize("site", SITES)
def test_an_example_reproduces_the_protocol(real_data, monkeypatch, site):
    monkeypatch.setenv("FLARE_MRI_DATA", str(real_data.resolve()))
    config = load_site_config(EXAMPLES / site / "site.yaml", site)
    only = config.data.slices.model_copy(update={"labelled": True})
    config = config.model_copy(update={"data": config.data.model_copy(update={"slices": only})})
    data = SegmentationData(config, seed=0)
    content = json.loads((real_data / "hippocampus" / site / "datalist.json").read_text())
    for section, part in {"training": data.train, "validation": data.validation, "test": data.test}.items():
        if section == "validation" and section not in content:
            assert part is data.test
            continue
        names = [data.volume_names[number] for number in sorted({number for number, _ in part.indices})]
        assert names == [row["image"].removesuffix(".nii.gz") for row in content.get(section, [])]
    row = content["test"][-1]
    check_last_volume(data, *(real_data / "hippocampus" / site / row[key] for key in ("image", "label")))


def check_last_volume(data, image_path, label_path):
    """Against the protocol written out: z-score, keep slices with label, pad to the centre of 64x64, stack."""
    image, label = (np.asarray(nibabel.load(path).dataobj, np.float64) for path in (image_path, label_path))
    image = (image - image.mean()) / image.std()
    kept = [number for number in range(image.shape[2]) if label[:, :, number].any()]
    top, left = (64 - image.shape[0]) // 2, (64 - image.shape[1]) // 2
    padding = [(top, 64 - image.shape[0] - top), (left, 64 - image.shape[1] - left), (0, 0)]
    image, label = np.pad(image[..., kept], padding), np.pad(label[..., kept], padding)
    items = [item for item in data.test if item["volume"] == len(data.volumes) - 1]
    assert [item["slice"] for item in items] == kept
    for place, item in enumerate(items):
        near = [max(place - 1, 0), place, min(place + 1, len(kept) - 1)]
        np.testing.assert_allclose(item["image"], np.moveaxis(image[..., near], 2, 0), atol=1e-5)
        np.testing.assert_array_equal(item["label"][0], label[..., place])
