# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Pieces of volumes and patches for 3D networks, and predictions in their place again."""

import numpy as np
import torch

from flare_mri.config.segmentation import IGNORED, SegmentationPlan
from flare_mri.datasets.segmentation import SegmentationData


def test_patches_of_whole_volumes(prostate):
    plan = SegmentationPlan(patch_size=(4, 8, 32))
    data = SegmentationData(prostate(slices="{start: 0}"), seed=0, plan=plan)
    epoch = data.epoch(3)
    assert len(epoch) == 2 * 2 * 2  # two volumes of 6x16x20
    items = [epoch[place] for place in range(len(epoch))]
    assert {(tuple(item["image"].shape), item["label"].dtype) for item in items} == {((1, 4, 8, 32), torch.int64)}
    assert all((item["label"][..., 20:] == IGNORED).all() and not item["image"][..., 20:].any() for item in items)
    assert sum(bool((item["label"] == 1).any()) for item in items) >= 2
    again = data.epoch(3)
    assert all(torch.equal(item["image"], again[place]["image"]) for place, item in enumerate(items))
    assert not all(torch.equal(item["image"], data.epoch(4)[place]["image"]) for place, item in enumerate(items))


def test_pieces_of_volumes_cover_them_and_predictions_lie_in_place(prostate):
    data = SegmentationData(prostate(slices="{start: 0}"), seed=0, plan=SegmentationPlan(patch_size=(4, 16, 16)))
    pieces = data.pieces(data.test)
    assert len(pieces) == 2 * 2 and pieces[0].shape == (1, 4, 16, 16)

    class Threshold(torch.nn.Conv3d):
        def forward(self, image):
            return torch.cat([0 * image, image - 1], 1)

    found = pieces.classes(Threshold(1, 1, 1), 3)
    images = np.stack([item["image"][1].numpy() for item in data.test])
    np.testing.assert_array_equal(found, images > 1)


def test_a_3d_network_takes_no_labelled_slices_alone(prostate, refused):
    plan = SegmentationPlan(patch_size=(4, 8, 8))
    refused(lambda: SegmentationData(prostate(), seed=0, plan=plan), "site-1", "data.slices", "whole volumes")


def test_images_alone_as_a_sequence(prostate):
    data = SegmentationData(prostate(), 0)
    dataset, images = data.outside, data.pieces(data.outside)
    assert len(images) == len(list(images)) == 12
    assert torch.equal(images[-1], dataset[11]["image"]) and len(images[3:5]) == 2
    assert torch.equal(torch.stack(images[3:5])[1], dataset[4]["image"])
