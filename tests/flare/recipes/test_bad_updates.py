# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Answers that the server cannot use."""

from pathlib import Path

import pytest
import torch
from nvflare.app_common.abstract.fl_model import FLModel

from conftest import TINY
from federation import Federation
from flare_mri.errors import InputError
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.training import SiteStore


def federation(root: Path, sites: list[str], min_sites: int, tamper: object, **settings: int) -> Federation:
    settings = {"num_rounds": 2, **settings}
    recipe = FedMRIRecipe(network=TINY, min_clients=min_sites, negatives="all", include_code=False, **settings)
    return Federation(recipe, sites, root, tamper=tamper)  # type: ignore[arg-type]


def spoil(site: str, task: str, model: FLModel) -> FLModel | None:
    """site-2 sends NaN in the second round."""
    if site == "site-2" and task == "train" and model.current_round == 1:
        key = next(iter(model.params))
        model.params[key] = torch.full_like(model.params[key], float("nan"))
    return model


def test_a_bad_update_is_left_out_and_the_round_goes_on(tmp_path: Path, sites: list[str]) -> None:
    run = federation(tmp_path, sites, 2, spoil)
    results = run.run()
    assert not run.panics
    entry = results["methods"]["FedMRI"]
    assert sorted(entry["rounds"][1]["sites"]) == ["site-1", "site-3"]
    assert entry["rounds"][1]["left_out"] == ["site-2"] and "left_out" not in entry["rounds"][0]
    assert entry["sites"]["site-2"]["note"] == "Its update was left out in 1 of 2 rounds: the server's log says why."
    assert "note" not in entry["sites"]["site-1"]
    assert all(torch.isfinite(v).all() for v in run.saved[-1]["params"].values())
    checkpoint = SiteStore(tmp_path / "run_store", "fedmri", "server").load("checkpoint.pt")
    assert checkpoint is not None and sorted(checkpoint["method"]["negatives"]) == ["site-1", "site-3"]


def test_a_site_whose_updates_are_left_out_again_and_again_is_asked_no_more(
    tmp_path: Path, sites: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    run = federation(tmp_path, sites, 2, spoil, num_rounds=4, shut_out_after=1)
    entry = run.run()["methods"]["FedMRI"]
    trained = [site for site, task, _ in run.sent if task == "train"]
    assert [trained.count(site) for site in sites] == [4, 2, 4]
    assert "site-2 is asked no more: its update was left out in 1 rounds" in caplog.text
    assert entry["sites"]["site-2"]["note"].startswith("Its update was left out in 1 of 4 rounds")
    assert "test" not in entry["sites"]["site-2"] and "test" in entry["sites"]["site-1"]


def test_krum_shuts_nobody_out() -> None:
    with pytest.raises(InputError, match="shut_out_after: expected 0 with average krum"):
        FedMRIRecipe(network=TINY, min_clients=5, average="krum", shut_out_after=3)


@pytest.mark.parametrize(
    "metric, value, told",
    [
        ("slices/train", float("inf"), "metric 'slices/train' is inf, expected one finite number"),
        ("train/loss", "0.5", "metric 'train/loss' is '0.5'"),
        ("train/loss", None, "metric 'train/loss' is missing"),
        ("patient", 1.0, "metric 'patient' is not listed"),
    ],
)
def test_numbers_that_are_none_spoil_nothing(
    tmp_path: Path, sites: list[str], metric: str, value: object, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Updates that a site's own filter would have stopped, from a site that runs another program."""

    def tamper(site: str, task: str, model: FLModel) -> FLModel | None:
        if (site, task) == ("site-2", "train"):
            model.metrics = {k: v for k, v in model.metrics.items() if k != metric} | (
                {metric: value} if value is not None else {}
            )
        return model

    run = federation(tmp_path, sites, 2, tamper)
    results = run.run()
    assert not run.panics and f"train: answer of site-2 left out: {told}" in caplog.text
    assert [sorted(row["sites"]) for row in results["methods"]["FedMRI"]["rounds"]] == [["site-1", "site-3"]] * 2
    assert all(torch.isfinite(v).all() for v in run.saved[-1]["params"].values())


def test_below_min_sites_the_job_ends_loudly_and_keeps_the_old_model(tmp_path: Path, sites: list[str]) -> None:
    run = federation(tmp_path, sites, 3, spoil)
    run.run()
    assert len(run.panics) == 1
    assert "round 1: 2 good updates, expected at least 3 (site-2: encoder." in run.panics[0]
    assert "not finite" in run.panics[0] and "the global model stays as it was" in run.panics[0]
    assert [saved["meta"]["round"] for saved in run.saved] == [0]


def test_a_site_that_does_not_answer_is_named(tmp_path: Path, sites: list[str]) -> None:
    run = federation(
        tmp_path, sites, 3, lambda site, task, model: None if (site, task) == ("site-3", "train") else model
    )
    run.run()
    assert "train in round 0: 2 sites answered, expected at least 3" in run.panics[0] and "site-3" in run.panics[0]


def test_a_site_that_is_not_ready_stops_the_job_before_any_round(tmp_path: Path, sites: list[str]) -> None:
    (tmp_path / "site-2" / "local" / "site.yaml").write_text("data: {format: dicom, root: /nowhere/at/all}\n")
    run = federation(tmp_path, sites, 1, None)
    run.run()
    assert "not ready: site-2" in run.panics[0] and "no round was run" in run.panics[0]
    assert not run.saved and {task for _, task, _ in run.sent} == {"check"}
