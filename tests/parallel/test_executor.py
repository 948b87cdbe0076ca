# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A federation of which one site trains in two processes: by FLARE's own messages, with the scores of one process."""

from pathlib import Path
from typing import Any

import pytest
from nvflare.apis.event_type import EventType

from conftest import TINY
from federation import Federation, context
from flare_mri.flare.executors import site_log
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.training import TrainingSettings
from ranks import SITE

SITES = ["site-1", "site-2"]


def run_with(root: Path, cache: Path, processes: int, **training: Any) -> Federation:
    """A run with the first site's number of processes; results are None where it failed."""
    for site in SITES:
        (root / site / "local").mkdir(parents=True)
        text = SITE.format(cache=cache, processes=processes if site == "site-1" else 1)
        (root / site / "local" / "site.yaml").write_text(text)
    settings = TrainingSettings(**{"optimizer": "sgd", "lr": 0.05, "lr_step": 0, **training})
    recipe = FedMRIRecipe(network=TINY, training=settings, include_code=False, min_clients=2, num_rounds=2)
    return Federation(recipe, SITES, root)


def test_a_site_of_two_processes_scores_as_one(tmp_path: Path, cache: Path) -> None:
    alone, two = (run_with(tmp_path / str(number), cache, number) for number in (1, 2))
    expected, found = (run.run()["methods"]["FedMRI"]["sites"] for run in (alone, two))
    executor = two._executors["site-1"]
    running = [process.popen for process in executor._site.processes._running]
    assert [process.poll() for process in running] == [None, None], "they are kept from round to round"
    for site in SITES:
        for name, score in expected[site]["test"].items():
            assert found[site]["test"][name] == pytest.approx(score, rel=1e-5), (site, name)
    executor.handle_event(EventType.END_RUN, context("site-1", "job", two.root / "site-1"))
    assert None not in [process.poll() for process in running], "they end with the job"


def test_differential_privacy_is_refused_at_the_check(tmp_path: Path, cache: Path) -> None:
    run = run_with(tmp_path, cache, 2, dp_noise_multiplier=1.0)
    run.run()
    assert [task for _, task, _ in run.sent] == ["check", "check"] and "not ready: site-1" in run.panics[0]
    log = (tmp_path / "site-1" / site_log.LOG_FILE).read_text()
    assert "site.yaml: processes: expected 1 for a job with differential privacy" in log
