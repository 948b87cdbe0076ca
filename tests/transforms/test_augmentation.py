# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Random transforms of slices and patches to segment: labels stay labels, anatomy is mirrored along one axis alone."""

import pytest
import torch

from flare_mri.config.segmentation import IGNORED
from flare_mri.io.formats import SEGMENTATION
from flare_mri.transforms.augmentation import SEGMENTATION_TRANSFORMS, Augmentation, choose_augmentation

SHAPES = {2: ((3, 32, 24), (1, 32, 24)), 3: ((1, 12, 32, 24), (1, 12, 32, 24))}
OF_THE_IMAGE = {"inversion", "bias_field", "gamma", "histogram_shift", "low_resolution", "blur", "noise"}


def sample(dims: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    image, label = (torch.randn(shape) for shape in SHAPES[dims])
    return {"image": image, "label": torch.where(label > 0.5, 2.0, torch.where(label < -2, float(IGNORED), 0.0))}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", SEGMENTATION_TRANSFORMS)
def test_each_transform(name: str, dims: int) -> None:
    transform, given = Augmentation(SEGMENTATION, (name,), dims=dims, left_right=1), sample(dims)
    results = [transform(given, seed) for seed in range(24)]
    assert all(
        result[key].shape == given[key].shape and type(result[key]) is torch.Tensor
        for result in results
        for key in given
    )
    assert any(not torch.equal(result["image"], given["image"]) for result in results)
    assert {float(value) for result in results for value in result["label"].unique()} <= {0, 2, IGNORED}
    assert all(torch.equal(result["label"], given["label"]) for result in results) == (name in OF_THE_IMAGE)
    assert torch.equal(transform(given, 3)["image"], results[3]["image"])


@pytest.mark.parametrize(("dims", "axis"), [(2, 0), (2, 1), (3, 0), (3, 2)])
def test_bodies_are_mirrored_from_left_to_right_alone(dims: int, axis: int) -> None:
    given = sample(dims)
    transform = Augmentation(SEGMENTATION, ("flip",), dims=dims, left_right=axis)
    seen = [transform(given, seed)["image"] for seed in range(8)]
    mirrored = given["image"].flip(axis + 1)
    assert all(torch.equal(image, given["image"]) or torch.equal(image, mirrored) for image in seen)
    assert any(torch.equal(image, mirrored) for image in seen)
    unknown = Augmentation(SEGMENTATION, ("flip",), dims=dims)
    assert all(torch.equal(unknown(given, seed)["image"], given["image"]) for seed in range(8))


def test_contrast_is_inverted_only_where_a_site_asks_for_it() -> None:
    assert "inversion" not in choose_augmentation(SEGMENTATION, True, None)
    assert choose_augmentation(SEGMENTATION, False, ("inversion", "flip")) == ("flip", "inversion")
    given = sample(2)
    seen = [Augmentation(SEGMENTATION, ("inversion",))(given, seed)["image"] for seed in range(8)]
    assert any(torch.allclose(image, -given["image"]) for image in seen)
