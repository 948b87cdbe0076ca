# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of classical reconstructions: of the networks' slices, better than zero-filled, their absence told."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import Identity

from flare_mri.config.results import BASELINES
from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.extras import MissingExtraError
from flare_mri.physics import classical
from flare_mri.training.classical import CLASSICAL, score_classical
from flare_mri.training.examples import COMMON
from flare_mri.training.reconstruction import ReconstructionTask

SITE = """
data: {{format: phantom, subjects: 2, spatial_size: [48, 48], slices: {{step: 4}}}}
split: {{train: 0.5, validation: 0, test: 0.5, by: volume}}
cache: {{folder: {folder}}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SiteConfig:
    folder = tmp_path_factory.mktemp("site")
    (folder / "site.yaml").write_text(SITE.format(folder=folder))
    return load_site_config(folder / "site.yaml", "site-1")


def test_they_have_the_titles_of_tables() -> None:
    assert {name: entry.title for name, entry in CLASSICAL.items()} | {"zero_filled": "Zero-filled"} == BASELINES


def test_they_are_better_than_zero_filled(site: SiteConfig) -> None:
    """On data of the network's own keys: the samples of classical reconstructions have those that these need."""
    pytest.importorskip("sigpy")
    task = ReconstructionTask(ReconstructionData(site, 0, ("image",)), site, torch.device("cpu"))
    assert task.baselines(classical=False).keys() == {"zero_filled"}
    kept: dict[str, dict[str, np.ndarray]] = {}
    found = task.baselines(True, kept.__setitem__)
    assert found.keys() == BASELINES.keys()
    assert min(found[name].metrics["psnr"] for name in CLASSICAL) > found["zero_filled"].metrics["psnr"]
    assert all(one.metrics.keys() == found["zero_filled"].metrics.keys() for one in found.values())
    volumes = task.evaluate_volumes(Identity(), "test").volumes
    for one in found.values():
        assert one.volumes.keys() == volumes.keys(), "a paired test needs the same volumes of all"
        assert np.mean([scores["psnr"] for scores in one.volumes.values()]) == pytest.approx(one.metrics["psnr"])
    assert kept.keys() == {f"examples-{name}.npz" for name in CLASSICAL}
    own = task.examples(Identity())
    for name, entry in CLASSICAL.items():
        arrays = kept[f"examples-{name}.npz"]
        assert arrays["method"] == entry.title
        keys = [tuple(zip(a["volume"].tolist(), a["slice"].tolist(), strict=True)) for a in (arrays, own)]
        both = set(keys[0]) & set(keys[1])
        assert len(both) >= COMMON, "of every method the common slices are kept"
        for key in both:
            here, there = keys[0].index(key), keys[1].index(key)
            np.testing.assert_allclose(arrays["target"][here], own["target"][there], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(arrays["input"][here], own["input"][there], rtol=1e-4, atol=1e-4)


def test_the_weight_is_the_best_of_the_training_slices(site: SiteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training slices would have one weight, the test slices another: the first counts."""
    data = ReconstructionData(site, 0)
    best = {tuple(data.train.indices): 0.03, tuple(data.test.indices): 0.1}
    monkeypatch.setattr(
        "flare_mri.training.classical._score",
        lambda dataset, places, entry, weight, examples=None: SimpleNamespace(
            aggregate=lambda: {"psnr": 30 - abs(weight - best[tuple(dataset.indices)])}
        ),
    )
    scores, weight = score_classical(data, "cg_sense")
    assert weight == 0.03 and scores.aggregate()["psnr"] == pytest.approx(30 - 0.07)


def test_without_sigpy_the_log_says_what_is_left_out(
    site: SiteConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(extra: str, module: str, wanted: object) -> None:
        raise MissingExtraError(f"{wanted}: expected the package sigpy, got no sigpy; pip install 'flare-mri[{extra}]'")

    monkeypatch.setattr(classical, "import_extra", missing)
    task = ReconstructionTask(ReconstructionData(site, 0), site, torch.device("cpu"))
    with caplog.at_level(logging.WARNING):
        assert task.baselines(classical=True).keys() == {"zero_filled", "cg_sense"}
    assert "left out: l1-wavelet reconstruction: expected the package sigpy" in caplog.text
