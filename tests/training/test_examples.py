# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Which test slices a site keeps pictures of."""

import numpy as np
import torch

from flare_mri.datasets.pictures import SlicePlace
from flare_mri.metrics.reconstruction import VolumeMetrics
from flare_mri.training.examples import ReconstructionExamples, choose_slices, join_examples, spread_evenly


def test_worst_median_and_best_are_kept_beside_the_common_ones() -> None:
    scores = np.array([np.nan, 5.0, 1.0, 9.0, 4.0, 7.0, np.nan, 6.0, 8.0])
    places, arrays = choose_slices(scores, count=1)
    assert places == sorted({*spread_evenly(9, 1), 2, 7, 3})
    ranks = dict(zip(places, arrays["rank"].tolist(), strict=True))
    assert (ranks[2], ranks[7], ranks[3]) == (1, 4, 7) and set(arrays["ranked"]) == {7}
    np.testing.assert_array_equal(arrays["score"], scores[places].astype("f4"))
    places, arrays = choose_slices(np.full(9, np.nan), count=2)
    assert places == spread_evenly(9, 2) and not arrays["rank"].any() and not arrays["ranked"].any()


def test_a_slice_has_its_own_score_in_whatever_order_batches_come() -> None:
    rng = np.random.default_rng(0)
    targets, outputs = rng.random((2, 3, 1, 8, 8), np.float32), rng.random((2, 3, 1, 8, 8), np.float32)
    one = torch.ones(1)
    places = [SlicePlace("PLS", (1.5, 2.0)), SlicePlace()]
    examples, metrics = ReconstructionExamples(places), {}
    for volume, index in ((1, 2), (0, 1), (1, 0), (0, 0), (1, 1), (0, 2)):
        target, output = targets[volume, index][None], outputs[volume, index][None]
        batch = {"image": torch.from_numpy(target), "target": torch.from_numpy(target), "scale": one, "max": one}
        batch |= {"offset": 0 * one, "volume": torch.tensor([volume]), "slice": torch.tensor([index])}
        examples.add(batch, torch.from_numpy(output))
        metrics[volume, index] = VolumeMetrics()
        metrics[volume, index].add(volume, output[0, 0], target[0, 0], 1.0)
    arrays = examples.choose(count=6)
    for place, key in enumerate(zip(arrays["volume"].tolist(), arrays["slice"].tolist(), strict=True)):
        np.testing.assert_array_equal(arrays["output"][place], outputs[key][0])
        np.testing.assert_allclose(arrays["score"][place], metrics[key].aggregate()["psnr"], rtol=1e-6)
        of_volume = places[key[0]]
        assert arrays["axcodes"][place] == of_volume.axcodes and tuple(arrays["spacing"][place]) == of_volume.spacing
    joined = join_examples([arrays | {"method": np.array("A")}, arrays | {"method": np.array("A")}])
    assert len(joined["score"]) == 2 * len(arrays["score"]) and joined["method"] == "A"
    assert joined["axcodes"].shape == (12,) and joined["spacing"].shape == (12, 2)
