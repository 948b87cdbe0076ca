# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The segmentation task on small phantoms."""

import numpy as np
import pytest
import torch
from torch import nn

from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.errors import InputError
from flare_mri.methods import SiteHooks
from flare_mri.metrics.segmentation import OUTSIDE_BATCH
from flare_mri.networks import build_network, shared_keys
from flare_mri.report.examples import load_examples
from flare_mri.training import Learner, TrainingSettings, build_task
from flare_mri.training.segmentation import SegmentationTask, score

NETWORK = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {"in_channels": 3, "out_channels": 2, "channels": 4, "num_pools": 2, "norm": "batch"},
}
SITE_YAML = """
data: {{format: {}, subjects: 3, spatial_size: [32, 32]}}
split: {{train: 0.34, validation: 0.33, test: 0.33}}
cache: {{folder: {}}}
batch_size: 4
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> SiteConfig:
    folder = tmp_path_factory.mktemp("site")
    (folder / "site.yaml").write_text(SITE_YAML.format("phantom", folder / "cache"))
    return load_site_config(folder / "site.yaml", "site-1")


@pytest.fixture(scope="module")
def task(config) -> SegmentationTask:
    task = build_task("segmentation", config, seed=0)
    assert isinstance(task, SegmentationTask)
    return task


class Known(nn.Module):
    """Answers each image with the logits of a label map kept for it."""

    def __init__(self, task, labels):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))  # says on which device it is
        self.answers = {
            item["image"].numpy().tobytes(): label for item, label in zip(task.data.test, labels, strict=True)
        }

    def forward(self, images):
        labels = torch.stack([self.answers[image.numpy().tobytes()] for image in images])
        return nn.functional.one_hot(labels, 2).movedim(-1, 1).float()


def test_the_fingerprint_is_that_of_the_data(task, config):
    assert task.fingerprint() == task.data.fingerprint() == build_task("segmentation", config, seed=0).fingerprint()


def test_the_loss_is_the_published_formula(task):
    items = [task.data.train[place] for place in (0, 2, 3)]
    images, labels = (torch.stack([item[key] for item in items]) for key in ("image", "label"))
    network = build_network(NETWORK, 0).double().eval()
    with torch.no_grad():
        loss = task.loss(network, {"image": images.double(), "label": labels})
        logits = network(images.double()).numpy()
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    dice = 0.0
    for label in (0, 1):
        truth = labels[:, 0].numpy() == label
        both = (softmax[:, label] * truth).sum()
        dice += (2 * both + 1e-5) / (softmax[:, label].sum() + truth.sum() + 1e-5)
    assert float(loss) == pytest.approx(1 - dice / 2, rel=1e-6)


def test_the_truth_scores_best_and_background_worst(task):
    truths = [item["label"][0] for item in task.data.test]
    best, worst = (task.evaluate(Known(task, labels), "test") for labels in (truths, [0 * label for label in truths]))
    assert best["slice_dice"] == pytest.approx(1, abs=1e-5)
    assert (best["dice"], best["hd95"]) == (1.0, 0.0)
    assert worst["dice"] == 0 and 0.4 < worst["slice_dice"] < 0.5
    assert worst["hd95"] > 180  # mm: the diagonal of the field of view and more
    assert (
        list(best) == ["slice_dice", "dice", "hd95", "false_slices"]
        and task.key_metric in best
        and task.baselines(classical=False) == {}
    )


def test_examples_show_the_centre_channel(task):
    truths = [item["label"][0] for item in task.data.test]
    arrays = task.examples(Known(task, truths), count=3)
    number = len(arrays["slice"])
    assert 3 <= number <= 6, "three that are the same for all, and the worst, the median and the best"
    images, numbers = (number, 32, 32), (number,)
    assert {key: (value.shape, value.dtype.name) for key, value in arrays.items()} == {
        "input": (images, "float32"),
        "output": (images, "uint8"),
        "target": (images, "uint8"),
        "volume": (numbers, "int64"),
        "slice": (numbers, "int64"),
        "score": (numbers, "float32"),
        "rank": (numbers, "int64"),
        "ranked": (numbers, "int64"),
        "axcodes": (numbers, "str96"),
        "spacing": ((number, 2), "float32"),
    }
    assert np.isin(arrays["score"], [1, np.nan]).any()
    np.testing.assert_array_equal(arrays["output"], arrays["target"])
    at = [(item["volume"], item["slice"]) for item in task.data.test]
    for place, key in enumerate(zip(arrays["volume"], arrays["slice"], strict=True)):
        item = task.data.test[at.index(key)]
        np.testing.assert_array_equal(arrays["input"][place], item["image"][1])
        np.testing.assert_array_equal(arrays["target"][place], item["label"][0])


def test_examples_of_an_outside_site_are_of_all_its_slices(task):
    labels = np.stack([item["label"][0].numpy() for item in task.data.outside])
    arrays = task.examples_of(labels, count=3)
    at = [(item["volume"], item["slice"]) for item in task.data.outside]
    for place, key in enumerate(zip(arrays["volume"], arrays["slice"], strict=True)):
        np.testing.assert_array_equal(arrays["output"][place], labels[at.index(key)])
    np.testing.assert_array_equal(arrays["output"], arrays["target"])


def test_the_report_reads_the_examples(task, tmp_path):
    truths = [item["label"][0] for item in task.data.test]
    np.savez(tmp_path / "examples.npz", **task.examples(Known(task, truths)))
    examples = load_examples(tmp_path / "examples.npz")
    assert examples.target.max() == 1 and examples.features is None


@pytest.mark.parametrize(
    "network",
    [
        NETWORK,
        {
            "path": "monai.networks.nets.BasicUNet",
            "args": {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "features": [4, 4, 8, 8, 8, 4]},
        },
    ],
)
def test_training_learns(task, network):
    built = build_network(network, 0)
    settings = TrainingSettings(optimizer="adam", lr=1e-2, local_epochs=12, lr_step=0)
    learner = Learner(built, shared_keys(built, "all"), task, settings, SiteHooks(None))
    before = task.evaluate(learner.network, "train")["slice_dice"]
    learner.train(learner.shared_state(), 0)
    after = task.evaluate(learner.network, "train")["slice_dice"]
    assert after > max(before, 0.5) + 0.1


def test_score_of_given_predictions(task):
    dataset = task.data.outside
    truths = np.stack([item["label"][0].numpy() for item in dataset])
    assert score(dataset, truths, OUTSIDE_BATCH).aggregate()["dice"] == 1
    with pytest.raises(InputError, match=f"predictions of {len(dataset)} slices, got 1"):
        score(dataset, truths[:1])


def test_a_network_with_other_outputs(task):
    network = build_network({**NETWORK, "args": {**NETWORK["args"], "out_channels": 1}}, 0)
    batch = {"image": torch.zeros(2, 3, 32, 32), "label": torch.zeros(2, 1, 32, 32, dtype=torch.int64)}
    with pytest.raises(InputError, match=r"logits \[2, 2, 32, 32\].*got \[2, 1, 32, 32\].*out_channels"):
        task.loss(network, batch)


def test_tasks_that_cannot_be_built(config, tmp_path):
    with pytest.raises(InputError, match="expected one of reconstruction, segmentation"):
        build_task("classification", config, 0)
    with pytest.raises(InputError, match="no more than image for segmentation, got one that needs kspace and mask"):
        build_task("segmentation", config, 0, keys=("kspace", "mask"))
    (tmp_path / "site.yaml").write_text("data: {format: prostate, root: .}")
    with pytest.raises(InputError, match="site 'site-1': data.format.*reconstruction job, got 'prostate'"):
        build_task("reconstruction", load_site_config(tmp_path / "site.yaml", "site-1"), 0)
