# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A job that ended too early goes on after its last finished round; sites come and go."""

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from nvflare.app_common.abstract.fl_model import FLModel

from conftest import TINY, write_site
from federation import Federation, state_in
from flare_mri.errors import InputError
from flare_mri.flare.protocol import tensors_in
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLRecipe
from flare_mri.methods import METHODS, SiteHooks
from flare_mri.training import SiteStore, TrainingSettings

SITES = ["site-1", "site-2"]


def federation(root: Path, rounds: int = 3, **options: Any) -> Federation:
    harness = {k: options.pop(k) for k in ("tamper", "connected", "fresh") if k in options}
    settings = {"training": TrainingSettings(lr=1e-3), "min_clients": 2, "num_rounds": rounds, **options}
    if settings.get("method") in FedMRIRecipe.system.methods or "method" not in settings:
        return Federation(FedMRIRecipe(network=TINY, include_code=False, **settings), SITES, root, **harness)
    network = {"path": TINY["path"], "args": {**TINY["args"], "in_channels": 3, "out_channels": 2, "norm": "batch"}}
    return Federation(IOPFLRecipe(network=network, include_code=False, **settings), SITES, root, **harness)


def prepare(root: Path, cache: Path) -> Path:
    for site in SITES:
        write_site(root / site, cache)
    return root


def silent_in(round_number: int) -> Any:
    """Nobody answers in that round: below min_sites, so the job ends there."""

    def tamper(site: str, task: str, model: FLModel) -> FLModel | None:
        return None if task == "train" and model.current_round == round_number else model

    return tamper


RESUMED = {name: (name, {}) for name, method in METHODS.items() if method.site is not SiteHooks}
RESUMED["FedAvg, int8 updates"] = ("FedAvg", {"update_dtype": "int8"})


@pytest.mark.parametrize("method, more", RESUMED.values(), ids=RESUMED)
def test_resumed_run_is_the_undisturbed_run_to_the_bit(
    tmp_path: Path, cache: Path, method: str, more: dict[str, Any]
) -> None:
    """With a process of its own for every task in the stopped and the resumed one."""
    calm = federation(prepare(tmp_path / "calm", cache), method=method, **more)
    undisturbed = calm.run()["methods"][method]
    root = prepare(tmp_path / "stopped", cache)
    stopped = federation(root, method=method, fresh=True, tamper=silent_in(2), **more)
    stopped.run()
    assert "train in round 2: 0 sites answered" in stopped.panics[0]
    resumed = federation(root, method=method, fresh=True, resume=True, **more)
    results = resumed.run()["methods"][method]
    assert not resumed.panics
    last = ["submit_model"] if METHODS[method].gathers_personal_models else []
    assert [task for site, task, _ in resumed.sent if site == "site-1"] == ["check", "train", "validate", *last]
    for key, value in calm.saved[-1]["params"].items():
        assert torch.equal(value, resumed.saved[-1]["params"][key])
    one, other = (SiteStore(run.root / "run_store", run.recipe.name, "server") for run in (calm, resumed))
    kept, again = (store.load("checkpoint.pt") for store in (one, other))
    assert kept is not None and again is not None and kept["extra_scale"] == again["extra_scale"]
    for mine, theirs in zip(tensors_in(kept["method"]), tensors_in(again["method"]), strict=True):
        assert torch.equal(mine, theirs)
    assert [row["round"] for row in results["rounds"]] == [0, 1, 2]
    for site in SITES:
        assert results["sites"][site]["test"] == undisturbed["sites"][site]["test"]
        assert results["sites"][site]["best"] == undisturbed["sites"][site]["best"]
        assert results["sites"][site].get("personal") == undisturbed["sites"][site].get("personal")
        for one, other in zip(results["rounds"], undisturbed["rounds"], strict=True):
            assert one["sites"][site]["train_loss"] == other["sites"][site]["train_loss"]
            assert one["sites"][site]["validation"] == other["sites"][site]["validation"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"name": "other"}, "no finished round of job 'other'"),
        ({"training": TrainingSettings(lr=1e-2)}, "training was {'lr': 0.001}, is now {'lr': 0.01}"),
        ({"method": "encoder-sharing"}, "method was 'FedMRI', is now 'encoder-sharing'"),
        ({"rounds": 1}, "has 2 finished rounds, num_rounds is 1; raise it"),
    ],
)
def test_what_cannot_be_resumed(tmp_path: Path, cache: Path, changes: dict[str, Any], message: str) -> None:
    root = prepare(tmp_path, cache)
    assert federation(root, rounds=2).run()["methods"]
    other = federation(root, **{"rounds": 3, "resume": True, **changes})
    other.run()
    assert len(other.panics) == 1 and message in other.panics[0].replace("'method'", "method")
    assert not other.sent, "nothing was asked of the sites"


def test_a_cosine_over_all_rounds_is_stretched_when_a_job_goes_on_for_longer(tmp_path: Path, cache: Path) -> None:
    root = prepare(tmp_path, cache)
    cosine = TrainingSettings(lr=1e-3, lr_schedule="cosine")
    federation(root, rounds=1, training=cosine).run()
    longer = federation(root, rounds=2, training=cosine, resume=True)
    assert len(longer.run()["methods"]["FedMRI"]["rounds"]) == 2 and not longer.panics
    given = cosine.model_copy(update={"lr_rounds": 5})
    other = federation(root, rounds=3, training=given, resume=True)
    other.run()
    assert len(other.panics) == 1 and "'lr_rounds': 5" in other.panics[0]


def test_a_checkpoint_of_an_earlier_version_is_one_line(tmp_path: Path, cache: Path) -> None:
    root = prepare(tmp_path, cache)
    federation(root, rounds=1).run()
    store = SiteStore(root / "run_store", "fedmri", "server")
    state = store.load("checkpoint.pt")
    assert state is not None
    store.save("checkpoint.pt", {**{k: v for k, v in state.items() if k != "method"}, "negatives": {}})
    other = federation(root, rounds=2, resume=True)
    other.run()
    assert len(other.panics) == 1 and "\n" not in other.panics[0] and not other.sent
    assert "expected a round of this version, got one of another version" in other.panics[0]
    assert "start the job under another name" in other.panics[0]


def test_a_finished_job_can_be_continued_for_longer(tmp_path: Path, cache: Path) -> None:
    root = prepare(tmp_path, cache)
    federation(root, rounds=1).run()
    longer = federation(root, rounds=2, resume=True)
    assert len(longer.run()["methods"]["FedMRI"]["rounds"]) == 2 and not longer.panics


def test_a_run_is_not_resumed_on_other_data(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A third volume more or less divides the volumes anew: a patient may have moved from training to test."""
    root = prepare(tmp_path, cache)
    federation(root, rounds=1).run()
    site_yaml = root / "site-2" / "local" / "site.yaml"
    settings = site_yaml.read_text()
    site_yaml.write_text(settings.replace("subjects: 3", "subjects: 6"))
    changed = federation(root, rounds=2, resume=True)
    changed.run()
    assert "not ready: site-2" in changed.panics[0]
    told = (root / "site-2" / "flare_mri.log").read_text().splitlines()
    assert len(told) == 1 and told[0].endswith(
        "site site-2: data or split differ from those of round 0 of this run (a patient may have moved from "
        "training to test); put the data back, or start the job under another name"
    )
    assert str(root) not in told[0] + caplog.text
    site_yaml.write_text(settings)
    back = federation(root, rounds=2, resume=True)
    assert len(back.run()["methods"]["FedMRI"]["rounds"]) == 2 and not back.panics


def test_a_site_that_missed_rounds_goes_on_from_its_own_last_one(tmp_path: Path, cache: Path) -> None:
    """site-2 is away in rounds 1 and 2; its decoder of round 0 must not be lost."""
    present = iter([SITES, SITES, ["site-1"], ["site-1"], SITES, SITES])
    run = federation(prepare(tmp_path, cache), rounds=4, min_clients=1, connected=lambda: next(present))
    states = []

    def look(site: str, task: str, model: FLModel) -> FLModel:
        if (site, task) == ("site-2", "train"):
            folder = tmp_path / site / "site_store" / "fedmri" / site
            states.append(sorted(p.name for p in folder.glob("*/round*")))
        return model

    run.tamper = look
    results = run.run()
    assert not run.panics and states == [["round-0.pt"], ["round-0.pt", "round-3.pt"]]
    assert [sorted(row["sites"]) for row in results["methods"]["FedMRI"]["rounds"]] == [
        SITES,
        ["site-1"],
        ["site-1"],
        SITES,
    ]
    steps = [state_in(tmp_path / s / "site_store", "fedmri", s, 3)["optimizer"]["state"][0]["step"] for s in SITES]
    assert steps[0] == 2 * steps[1], "two rounds trained here, not one and not four"


def test_a_site_that_joins_later_is_checked_first(tmp_path: Path, cache: Path) -> None:
    present = iter([["site-1"], ["site-1"], SITES, SITES, SITES])
    run = federation(prepare(tmp_path, cache), min_clients=1, connected=lambda: next(present))
    results = run.run()["methods"]["FedMRI"]
    assert not run.panics
    assert [task for site, task, _ in run.sent if site == "site-2"] == ["check", "train", "train", "validate"]
    assert results["sites"]["site-2"]["data"]["train"] > 0 and results["sites"]["site-2"]["test"]["psnr"] > 0


def test_a_late_site_that_is_not_ready_stays_outside(tmp_path: Path, cache: Path) -> None:
    present = iter([["site-1"], ["site-1"], SITES, SITES, SITES])
    root = prepare(tmp_path, cache)
    (root / "site-2" / "local" / "site.yaml").write_text("data: {format: dicom, root: /nowhere/at/all}\n")
    run = federation(root, min_clients=1, connected=lambda: next(present))
    results = run.run()["methods"]["FedMRI"]
    assert not run.panics and sorted(results["sites"]) == ["site-1"] and len(results["rounds"]) == 3
    assert [task for site, task, _ in run.sent if site == "site-2"] == ["check"], "asked once"


def hold(folder: str, held: Any) -> None:
    store = SiteStore(folder, "fedmri", "site-1")
    store.lock()
    held.set()
    time.sleep(60)


def test_two_jobs_of_one_name_do_not_share_a_store(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    held = fork.Event()
    other = fork.Process(target=hold, args=(str(tmp_path), held), daemon=True)
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(InputError, match=rf"site site-1: a job named 'fedmri' runs here already.*{other.pid}"):
            SiteStore(tmp_path, "fedmri", "site-1").lock()
        SiteStore(tmp_path, "another", "site-1").lock()
        other.kill()
        other.join()
        SiteStore(tmp_path, "fedmri", "site-1").lock()  # a killed job holds nothing
    finally:
        other.kill()
