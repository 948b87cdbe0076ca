# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Hospitals that come in by a relay: the job is the same, and the server still has each one's update."""

import json
from pathlib import Path

import pytest
import yaml

import kits
from conftest import SITE_YAML, TINY
from consortium import Consortium
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.training import TrainingSettings

SITES = ["hospital-1", "hospital-2"]


def test_hospitals_of_a_project_connect_to_its_relay() -> None:
    described = kits.project(SITES, 8002, 8003)["participants"]
    hospitals = [who for who in described if who["type"] == "client"]
    assert [who["connect_to"] for who in hospitals] == [{"name": "relay-1"}] * 2
    (relay,) = (who for who in described if who["type"] == "relay")
    assert relay["listening_host"]["port"] == 8003
    assert not any("connect_to" in who or who["type"] == "relay" for who in kits.project(SITES, 8002)["participants"])


@pytest.mark.slow
@pytest.mark.deploy
def test_a_job_through_a_relay(tmp_path: Path) -> None:
    text = SITE_YAML.format(cache=tmp_path / "cache")
    folder = tmp_path / "consortium"
    with Consortium(folder, SITES, True, text, {"OMP_NUM_THREADS": "1"}, ("FedAvg",), relay=True) as consortium:
        settings = {"network": TINY, "training": TrainingSettings(lr=1e-3), "min_clients": 2, "num_rounds": 2}
        recipe = FedMRIRecipe(name="relayed", method="FedAvg", include_code=False, **settings)
        recipe.export(str(tmp_path / "job"))
        job = consortium.submit(tmp_path / "job" / "relayed")
        assert consortium.wait_for_end(job, 600) == "FINISHED:COMPLETED"
        workspace = consortium.download(job, tmp_path / "download") / "workspace"
        run = json.loads((workspace / "results.json").read_text())["methods"]["FedAvg"]
        assert [sorted(row["sites"]) for row in run["rounds"]] == [SITES] * 2
        named = yaml.safe_load((consortium.folder / "project.yml").read_text())["participants"]
        relay = consortium.kit("hospital-1") / "local" / "relay__resources.json"
        port = next(who for who in named if who["type"] == "relay")["listening_host"]["port"]
        assert str(port) in relay.read_text()
