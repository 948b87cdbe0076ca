# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Several organs in a consortium whose sites label different ones, in 2.5D and 3D: trained, routed, applied."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from federation import Federation
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.config.training import TrainingSettings
from flare_mri.flare.recipes import IOPFLOutsideRecipe, IOPFLRecipe
from flare_mri.io.nifti_file import write_nifti
from flare_mri.networks import build_network
from flare_mri.report.examples import find_examples
from flare_mri.report.html import write_report
from flare_mri.routing.space import GLOBAL, RoutingSpace, load_routing_space, save_routing_space
from flare_mri.segment import main

ORGANS = ("liver", "kidney")
VALUES = {"site-1": {"kidney": 1, "liver": [2, 3]}, "site-2": {"liver": 7}, "outside-1": {"kidney": 1, "liver": 2}}
NETWORKS: dict[str, dict[str, Any]] = {
    "2.5D": {"path": "flare_mri.networks.unet.UNet", "args": {"norm": "batch", "channels": 4, "num_pools": 2}},
    "3D": {
        "path": "monai.networks.nets.SegResNet",
        "args": {"init_filters": 8, "norm": "batch", "blocks_down": [1, 1]},
    },
}
NETWORKS["3D"]["args"]["blocks_up"] = [1]


def settle(root: Path, site: str, cache: Path) -> None:
    """Two volumes of each section with a bright liver and a dark kidney, labelled as the site does."""
    rng, rows = np.random.default_rng(len(site) + ord(site[-1])), {}
    sections = ("test",) if site.startswith("outside") else ("training", "validation", "test")
    for section in sections:
        rows[section] = []
        for number in range(2):
            image, label = rng.normal(100, 10, (32, 32, 12)), np.zeros((32, 32, 12), np.uint8)
            image[4:20, 4:20, 3:9] += 80
            image[22:30, 8:28, 4:10] -= 60
            for name, value in VALUES[site].items():
                where = np.s_[4:20, 4:20, 3:9] if name == "liver" else np.s_[22:30, 8:28, 4:10]
                label[where] = np.ravel(value)[0]
            names = {key: f"{section}-{number}{end}.nii.gz" for key, end in (("image", ""), ("label", "_label"))}
            write_nifti(root / site / "data" / names["image"], image.astype(np.float32))
            write_nifti(root / site / "data" / names["label"], label)
            rows[section].append(names)
    (root / site / "data" / "datalist.json").write_text(json.dumps(rows))
    (root / site / "local").mkdir()
    settings = {"format": "decathlon", "root": "../data", "labels": VALUES[site], "spatial_size": [32, 32]}
    text = json.dumps({"data": settings, "cache": {"folder": str(cache)}, "batch_size": 4})
    (root / site / "local" / "site.yaml").write_text(text)


@pytest.mark.parametrize("dims", NETWORKS)
def test_organs_from_training_to_new_scans(tmp_path: Path, cache: Path, dims: str, capsys: Any) -> None:
    for site in VALUES:
        settle(tmp_path, site, cache)
    plan: dict[str, Any] = {"organs": ORGANS} | ({"patch_size": (8, 16, 16)} if dims == "3D" else {})
    learn = TrainingSettings(optimizer="adam", lr=1e-2, lr_step=0, local_epochs=4, loss="dice_ce", **plan)
    sites = ["site-1", "site-2"]
    recipe = IOPFLRecipe(min_clients=2, num_rounds=3, network=NETWORKS[dims], training=learn, include_code=False)
    inside = Federation(recipe, sites, tmp_path)
    results = inside.run()
    assert not inside.panics, inside.panics
    tests = {site: entry["test"] for site, entry in results["methods"]["IOP-FL"]["sites"].items()}
    assert {"dice.liver", "dice.kidney", "hd95.liver", "hd95.kidney"} <= tests["site-1"].keys()
    assert not any("." in name for name in tests["site-2"]), "what a site does not label is not scored there"
    assert tests["site-1"]["dice"] == pytest.approx(np.mean([tests["site-1"][f"dice.{name}"] for name in ORGANS]))
    assert tests["site-1"]["dice"] > 0.7 and tests["site-2"]["dice"] > 0.7

    space = load_routing_space(tmp_path / "server" / "routing_space.safetensors")
    assert space.plan == learn.plan()
    routing = IOPFLOutsideRecipe(
        routing_space=str(tmp_path / "server" / "routing_space.safetensors"), include_code=False
    )
    outside = Federation(routing, ["outside-1"], tmp_path)
    rows = outside.run()["methods"]
    assert not outside.panics, outside.panics
    assert rows["matched mix"]["sites"]["outside-1"]["test"]["dice.kidney"] > 0.5

    for job, site in (("iopfl", "site-2"), ("iopfl_outside", "outside-1")):
        store = tmp_path / site / "site_store" / job / site
        arguments = [str(store / "personal.safetensors"), "--site", str(tmp_path / site / "local" / "site.yaml")]
        assert main([*arguments, "--out", str(tmp_path / f"out-{site}")]) == 0
        told = capsys.readouterr().out
        assert "liver on " in told and "kidney on " in told and " ml)" in told
        found = nibabel.load(next((tmp_path / f"out-{site}").glob("test-0*_segmentation.nii.gz")))
        truth = np.zeros((32, 32, 12))
        truth[4:20, 4:20, 3:9], truth[22:30, 8:28, 4:10] = 1, 2
        assert (np.asarray(found.dataobj) == truth).mean() > 0.8  # the kidney is learned from site-1 alone
    stores = find_examples(results, [tmp_path / site / "site_store" for site in sites])
    assert "liver</li>" in write_report(results, stores, tmp_path / "report.html").read_text()


def test_a_site_that_labels_no_organ_of_the_job_is_told(tmp_path: Path, cache: Path) -> None:
    settle(tmp_path, "site-2", cache)
    recipe = IOPFLRecipe(
        min_clients=1,
        num_rounds=1,
        network=NETWORKS["2.5D"],
        training=TrainingSettings(organs=("colon", "spleen")),
        include_code=False,
    )
    federation = Federation(recipe, ["site-2"], tmp_path)
    federation.run()
    log = (tmp_path / "site-2" / "flare_mri.log").read_text()
    assert "data.labels: expected some of the job's organs (colon, spleen), got liver" in log


def test_patches_for_a_network_of_slices_are_refused_at_the_check(tmp_path: Path, cache: Path) -> None:
    settle(tmp_path, "outside-1", cache)
    network = {**NETWORKS["2.5D"], "args": {**NETWORKS["2.5D"]["args"], "in_channels": 1, "out_channels": 3}}
    states = {name: build_network(network, seed).state_dict() for seed, name in enumerate(("site-1", GLOBAL))}
    plan = SegmentationPlan(organs=ORGANS, patch_size=(8, 16, 16))
    save_routing_space(tmp_path / "space.safetensors", RoutingSpace(network, states, plan))
    recipe = IOPFLOutsideRecipe(routing_space=str(tmp_path / "space.safetensors"), include_code=False)
    federation = Federation(recipe, ["outside-1"], tmp_path)
    federation.run()
    assert federation.panics and {task for _, task, _ in federation.sent} <= {"check"}
    log = (tmp_path / "outside-1" / "flare_mri.log").read_text()
    assert "expected samples with 2 spatial axes for UNet, got one of shape (1, 8, 16, 16)" in log
