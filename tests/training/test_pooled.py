# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY, write_site
from flare_mri.config.site import load_site_config
from flare_mri.config.training import TrainingSettings
from flare_mri.errors import InputError
from flare_mri.io.nifti_file import write_nifti
from flare_mri.networks import build_network
from flare_mri.training import build_task


def test_pool_holds_all_slices_and_scores_every_site_alike(tmp_path: Path, cache: Path) -> None:
    for name in ("a", "b"):
        write_site(tmp_path / name, cache)
        (tmp_path / name / "local" / "site.yaml").rename(tmp_path / name / "site.yaml")
    (tmp_path / "all.yaml").write_text("pooled_sites: [a/site.yaml, b/site.yaml]\nbatch_size: 3\n")
    pool = load_site_config(tmp_path / "all.yaml", "centralised")
    pooled = build_task("reconstruction", pool, seed=0)
    config = [load_site_config(tmp_path / name / "site.yaml", name) for name in ("a", "b")]
    alone = [build_task("reconstruction", c, seed=0) for c in config]
    assert pooled.batch_size == 3 and pooled.site == "centralised"
    assert alone[0].fingerprint() != alone[1].fingerprint() and len(pooled.fingerprint()) == 64
    assert pooled.fingerprint() == build_task("reconstruction", pool, seed=0).fingerprint()
    assert pooled.fingerprint() != build_task("reconstruction", pool, seed=1).fingerprint()
    assert len(pooled.dataset("train")) == sum(len(task.dataset("train")) for task in alone)  # type: ignore[arg-type]
    network = build_network(TINY, seed=0)
    expected = np.mean([task.evaluate(network, "test")["psnr"] for task in alone])
    assert pooled.evaluate(network, "test")["psnr"] == pytest.approx(expected)
    assert len(pooled.examples(network)["input"]) == sum(len(task.examples(network)["input"]) for task in alone)


def test_empty_pool_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text("pooled_sites: []\n")
    with pytest.raises(InputError, match="pool"):
        load_site_config(tmp_path / "all.yaml", "centralised")


def test_organs_are_pooled_where_all_label_the_same(tmp_path: Path, cache: Path) -> None:
    label = np.zeros((32, 32, 6), np.uint8)
    label[4:12, 4:12, 1:4], label[20:28, 8:24, 2:5] = 1, 2
    for name, organs in (("a", "{liver: 1, kidney: 2}"), ("b", "{liver: 2, kidney: 1}"), ("c", "{liver: [1, 2]}")):
        for number in range(2):
            write_nifti(
                tmp_path / name / f"Case{number}.nii.gz", np.random.default_rng(number).normal(100, 9, label.shape)
            )
            write_nifti(tmp_path / name / f"Case{number}_segmentation.nii.gz", label)
        data = f"data: {{format: prostate, root: ., labels: {organs}}}\nsplit: {{train: 0.5, validation: 0, test: 0.5}}"
        (tmp_path / name / "site.yaml").write_text(f"{data}\ncache: {{folder: {cache}}}")
    training = TrainingSettings(organs=("kidney", "liver"))
    (tmp_path / "all.yaml").write_text("pooled_sites: [a/site.yaml, b/site.yaml]")
    task = build_task("segmentation", load_site_config(tmp_path / "all.yaml", "centralised"), 0, training=training)
    network = build_network(
        {"path": "flare_mri.networks.unet.UNet", "args": {"in_channels": 3, "out_channels": 3, "channels": 2}}, 0
    )
    assert {"dice.kidney", "hd95.liver"} <= task.evaluate(network, "test").keys()
    assert task.examples(network)["organs"].tolist() == ["kidney", "liver"]
    (tmp_path / "all.yaml").write_text("pooled_sites: [a/site.yaml, c/site.yaml]")
    with pytest.raises(InputError, match="centralised: pooled_sites: expected sites that label the same"):
        build_task("segmentation", load_site_config(tmp_path / "all.yaml", "centralised"), 0, training=training)
