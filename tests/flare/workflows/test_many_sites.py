# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Rounds of which not every site is asked, and answers that are handed on one by one."""

import shutil
import weakref
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.app_constant import AppConstants

from conftest import TINY, write_site
from federation import Federation, build, context, exported_config
from flare_mri.errors import InputError
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.flare.workflows.roster import Roster
from flare_mri.training import TrainingSettings

SITES = [f"site-{number}" for number in range(1, 6)]


@pytest.fixture
def five(tmp_path: Path, cache: Path) -> Path:
    for site in SITES:
        write_site(tmp_path / site, cache)
    return tmp_path


def federation(root: Path, tamper: object = None, **options: object) -> Federation:
    settings = {"network": TINY, "training": TrainingSettings(lr=1e-3), "min_clients": 5, "num_rounds": 3, **options}
    recipe = FedMRIRecipe(include_code=False, method="FedAvg", **settings)  # type: ignore[arg-type]
    return Federation(recipe, SITES, root, tamper=tamper)  # type: ignore[arg-type]


def test_a_draw_is_as_likely_for_each_and_the_same_when_it_is_made_again() -> None:
    roster = Roster(per_round=3, seed=4)
    draws = [roster.draw(SITES[::-1], number) for number in range(2000)]
    counts = Counter(site for draw in draws for site in draw)
    assert all(draw == sorted(set(draw)) and len(draw) == 3 for draw in draws)
    assert all(abs(counts[site] - 1200) < 110 for site in SITES)  # five deviations of a binomial
    assert draws[:20] == [Roster(3, 4).draw(SITES, number) for number in range(20)]
    assert draws[:20] != [Roster(3, 5).draw(SITES, number) for number in range(20)]
    assert roster.draw(SITES[:2], 0) == SITES[:2] and Roster().draw(SITES, 0) == SITES
    assert [roster.least(5), roster.least(2), Roster().least(5)] == [3, 2, 5]


def test_so_many_train_in_a_round_and_whoever_has_trained_is_scored(five: Path) -> None:
    run = federation(five, sites_per_round=2)
    entry = run.run()["methods"]["FedAvg"]
    assert not run.panics
    trained = [site for site, task, _ in run.sent if task == "train"]
    drawn = [row["drawn"] for row in entry["rounds"]]
    assert trained == [site for row in drawn for site in row] and [len(row) for row in drawn] == [2, 2, 2]
    assert drawn == [Roster(2, 0).draw(SITES, number) for number in range(3)] and len({tuple(r) for r in drawn}) > 1
    assert entry["settings"]["sites_per_round"] == 2
    asked = sorted({site for row in drawn for site in row})
    assert len(asked) < len(SITES) and [site for site in SITES if "test" in entry["sites"][site]] == asked
    for number, row in enumerate(entry["rounds"]):
        assert [site for site, told in row["sites"].items() if "train_loss" in told] == row["drawn"]
        scored = asked if number == 2 else drawn[number + 1]  # whoever is asked next scores this round's aggregate
        assert all("validation" in row["sites"][site] for site in scored)


def test_a_round_that_is_resumed_asks_the_same_sites(five: Path) -> None:
    whole = federation(five, sites_per_round=2, num_rounds=4).run()["methods"]["FedAvg"]
    shutil.rmtree(five / "run_store")
    shutil.rmtree(five / "server")
    for site in SITES:
        shutil.rmtree(five / site / "site_store", ignore_errors=True)
    federation(five, sites_per_round=2, num_rounds=2).run()
    resumed = federation(five, sites_per_round=2, num_rounds=4, resume=True).run()["methods"]["FedAvg"]
    assert [row["drawn"] for row in resumed["rounds"]] == [row["drawn"] for row in whole["rounds"]]
    tests = [{site: found.get("test") for site, found in run["sites"].items()} for run in (whole, resumed)]
    assert tests[0] == tests[1] and any(tests[0].values())


def test_too_few_of_those_that_were_asked(five: Path) -> None:
    def lose(site: str, task: str, model: FLModel) -> FLModel | None:
        return (
            None if task == "train" and site == Roster(2, 0).draw(SITES, 1)[0] and model.current_round == 1 else model
        )

    run = federation(five, lose, sites_per_round=2)
    run.run()
    assert "train in round 1: 1 sites answered, expected at least 2" in run.panics[0]
    fewer = federation(five, lose, sites_per_round=2, min_clients=1)
    rows = fewer.run()["methods"]["FedAvg"]["rounds"]
    assert not fewer.panics and [sum("train_loss" in s for s in row["sites"].values()) for row in rows] == [2, 1, 2]


def test_a_robust_average_needs_enough_of_those_that_are_asked() -> None:
    with pytest.raises(InputError, match="krum against 1 dishonest sites: expected updates of at least 5 sites, got 3"):
        FedMRIRecipe(network=TINY, min_clients=8, average="krum", sites_per_round=3)


def test_no_update_waits_for_another(five: Path) -> None:
    """The server has let go of each answer's tensors before it takes the next."""
    last: list[weakref.ref[torch.Tensor]] = []
    kept: list[int] = []

    def watch(site: str, task: str, model: FLModel) -> FLModel:
        if task == "train":
            kept.append(sum(tensor() is not None for tensor in last))
            model.params = {key: value.clone() for key, value in model.params.items()}  # the test keeps the message
            last[:] = [weakref.ref(value) for value in model.params.values()]
        return model

    run = federation(five, watch)
    run.run()
    assert not run.panics and kept == [0] * 15


def test_a_disk_without_space_ends_the_job_in_one_line(five: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    run = federation(five)
    run.run()
    assert len(run.panics) == 1 and "updates of 5 sites take" in run.panics[0]
    assert {task for _, task, _ in run.sent} == {"check"} and not run.saved


def test_what_fails_while_an_answer_is_taken_ends_the_job(five: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the site's fault: FLARE would log it and go on without the site."""

    def fail(self: object, site: str, update: object) -> None:
        raise InputError("updates of the round cannot be kept")

    monkeypatch.setattr("flare_mri.flare.aggregators.update_file.UpdateFile.put", fail)
    run = federation(five, num_rounds=1)
    run.run()
    assert run.panics == ["updates of the round cannot be kept"] and not run.saved


def test_an_answer_after_the_end_counts_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = FedMRIRecipe(network=TINY, min_clients=2, include_code=False)
    controller = build(exported_config(recipe, tmp_path / "job")["server"]["workflows"][0])
    controller.fl_ctx = fl_ctx = context("server", "job", tmp_path)
    client = SimpleNamespace(name="site-2")
    controller.process_result_of_unknown_task(client, "train", "task", Shareable(), fl_ctx)
    assert "train: answer of site-2 came too late and is left out" in caplog.text
    assert fl_ctx.get_prop(AppConstants.TRAINING_RESULT) is None
