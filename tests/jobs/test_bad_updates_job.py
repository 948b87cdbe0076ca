# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site that sends something else wrong in every round, through FLARE's simulator, with nothing of ours left out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import SITE_YAML, TINY
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.training import TrainingSettings
from saboteur import KINDS, SABOTEUR

GOOD = ["site-1", "site-2"]


@pytest.mark.slow
def test_the_global_model_takes_none_of_them(tmp_path: Path, cache: Path) -> None:
    recipe = FedMRIRecipe(
        network=TINY,
        training=TrainingSettings(lr=1e-3),
        min_clients=2,
        num_rounds=len(KINDS) + 1,
        wait_time_after_min_received=60,
    )
    recipe.export(str(tmp_path))
    app = tmp_path / "fedmri" / "app"
    config = json.loads((app / "config" / "config_fed_client.json").read_text())
    config["executors"][0]["executor"]["path"] = "saboteur.Saboteur"
    config["task_result_filters"] = []  # who means harm removes the gate
    (app / "config" / "config_fed_client.json").write_text(json.dumps(config))
    shutil.copy(Path(__file__).parents[1] / "saboteur.py", app / "custom")
    workspace = tmp_path / "w"
    for site in (*GOOD, SABOTEUR):
        (workspace / "local" / site).mkdir(parents=True)
        (workspace / "local" / site / "site.yaml").write_text(SITE_YAML.format(cache=cache))
    command = [Path(sys.executable).parent / "nvflare", "simulator", tmp_path / "fedmri", "-w", workspace]
    done = subprocess.run(
        [*map(str, command), "-c", ",".join((*GOOD, SABOTEUR)), "-t", "3"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    run = workspace / "server" / "simulate_job"
    assert (run / "results.json").exists(), done.stdout[-3000:]
    rounds = json.loads((run / "results.json").read_text())["methods"]["FedMRI"]["rounds"]
    log = done.stdout + done.stderr
    for number, (kind, _, says) in enumerate(KINDS):
        assert sorted(rounds[number]["sites"]) == GOOD, kind
        line = next(s for s in log.splitlines() if f"round {number}:" in s and SABOTEUR in s)
        assert says in line and "Traceback" not in line, kind
    assert sorted(rounds[-1]["sites"]) == [*GOOD, SABOTEUR], "once it behaves it is welcome"
    model = torch.load(run / "app_server" / "FL_global_model.pt", weights_only=True)["model"]
    assert all(torch.isfinite(value).all() and value.abs().max() < 100 for value in model.values())
