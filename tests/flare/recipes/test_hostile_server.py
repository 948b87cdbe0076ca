# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A broken or hostile server: what a site keeps stays good, what it is told is one line, and it can go on."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nvflare.apis.fl_constant import ReturnCode
from nvflare.app_common.abstract.fl_model import FLModel

from conftest import TINY, write_site
from federation import Federation, state_in
from flare_mri.flare.executors.site_log import LOG_FILE
from flare_mri.flare.protocol import MetaKey
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLOutsideRecipe, IOPFLRecipe
from flare_mri.inference.personal_model import load_personal_model
from flare_mri.networks import build_network
from flare_mri.routing.space import GLOBAL, RoutingSpace, save_routing_space
from flare_mri.training import RunStates, SiteStore, TrainingSettings

Hostile = Callable[[str, str, FLModel], FLModel]
NAN = float("nan")
RUN = "c0ffee" + "0" * 26
NETWORK: dict[str, Any] = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {"in_channels": 3, "out_channels": 2, "norm": "batch", "channels": 4, "num_pools": 2},
}


def settle(root: Path, name: str, cache: Path) -> None:
    """A phantom site that segments."""
    write_site(root / name, cache)
    site_yaml = root / name / "local" / "site.yaml"
    site_yaml.write_text(site_yaml.read_text().replace(", slices: {step: 2}", "").replace("size: 1", "size: 4"))


def site_log(root: Path, site: str) -> list[str]:
    """Log that a site keeps to itself, a line an error."""
    return (root / site / LOG_FILE).read_text().splitlines()


def fedmri(root: Path, sites: list[str], rounds: int = 2, **options: Any) -> Federation:
    settings = {k: options.pop(k) for k in ("min_clients", "resume") if k in options}
    training = TrainingSettings(lr=1e-3)
    settings = {"network": TINY, "training": training, "min_clients": len(sites), "num_rounds": rounds, **settings}
    return Federation(FedMRIRecipe(include_code=False, **settings), sites, root, **options)


def in_task(task: str, change: Callable[[FLModel], None], site: str = "site-1", rounds: Any = None) -> Hostile:
    def hostile(who: str, name: str, model: FLModel) -> FLModel:
        if (who, name) == (site, task) and (rounds is None or model.current_round in rounds):
            change(model)
        return model

    return hostile


def spoil(model: FLModel) -> None:
    model.params = {k: torch.full_like(v, NAN) if v.is_floating_point() else v for k, v in model.params.items()}


def store_of(root: Path, site: str, job: str = "fedmri") -> Path:
    return root / site / "site_store" / job / site


def files(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


def codes(run: Federation, site: str, task: str) -> list[str]:
    return [reply.get_return_code() for who, name, reply in run.sent if (who, name) == (site, task)]


@pytest.mark.parametrize("task", ["train", "validate"])
def test_no_number_of_nan_models_touches_the_personal_models(
    tmp_path: Path, sites: list[str], task: str, caplog: pytest.LogCaptureFixture
) -> None:
    sites = sites[:1]
    for _ in range(2):
        run = fedmri(tmp_path, sites, rounds=1)
        assert run.run()["methods"] and not run.panics
    store = store_of(tmp_path, "site-1")
    names = ("personal.safetensors", "former-personal.safetensors")
    good = {name: (store / name).read_bytes() for name in names}
    for _ in range(3):
        run = fedmri(tmp_path, sites, rounds=1, hostile=in_task(task, spoil))
        run.run()
        assert codes(run, "site-1", task) == [ReturnCode.EXECUTION_EXCEPTION]
        assert {name: (store / name).read_bytes() for name in names} == good
    told = (tmp_path / "site-1" / LOG_FILE).read_text()
    assert "site site-1: global model does not fit this site's network: encoder." in told
    assert "expected finite numbers" in told and f"end of {LOG_FILE}" in caplog.text
    for name in names:
        load_personal_model(store / name).build()


def test_a_site_goes_on_after_a_nan_model_as_if_it_had_been_away(tmp_path: Path, sites: list[str]) -> None:
    run = fedmri(tmp_path, sites[:2], rounds=3, min_clients=1, hostile=in_task("train", spoil, rounds=[1]))
    results = run.run()["methods"]["FedMRI"]
    assert not run.panics
    assert [sorted(row["sites"]) for row in results["rounds"]] == [sites[:2], ["site-2"], sites[:2]]
    assert results["sites"]["site-1"]["test"]["psnr"] > 0


def test_the_trajectory_survives_nan_models(tmp_path: Path, cache: Path) -> None:
    settle(tmp_path, "site-1", cache)
    recipe = IOPFLRecipe(min_clients=1, num_rounds=2, network=NETWORK, include_code=False)
    good = Federation(recipe, ["site-1"], tmp_path)
    good.run()
    assert not good.panics
    before = files(store_of(tmp_path, "site-1", "iopfl"))
    for task in ("train", "validate"):
        run = Federation(recipe, ["site-1"], tmp_path, hostile=in_task(task, spoil))
        run.run()
        assert run.panics
        after = files(store_of(tmp_path, "site-1", "iopfl"))
        assert {name: after.get(name) for name in before} == before
    run = Federation(recipe, ["site-1"], tmp_path, hostile=in_task("submit_model", spoil))
    run.run()  # a personal model is asked for with a message whose content nobody reads
    assert not run.panics
    assert torch.isfinite(state_of_newest(tmp_path)["method"]["trajectory"]["decoder.output.weight"]).all()


def state_of_newest(root: Path) -> dict[str, Any]:
    states = sorted(store_of(root, "site-1", "iopfl").glob("*/round-1.pt"), key=lambda path: path.stat().st_mtime)
    return torch.load(states[-1], weights_only=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m.meta.pop(MetaKey.RUN), "run id: expected 32 hexadecimal digits, got None"),
        (
            lambda m: m.meta.update({MetaKey.RUN: "../../etc"}),
            "32 hexadecimal digits, got '../../etc'",
        ),
        (lambda m: m.meta.update({MetaKey.RUN: [1]}), "run id: expected 32 hexadecimal digits"),
        (lambda m: m.meta.update({MetaKey.RUN: RUN}), f"got a task of run {RUN}"),
        (lambda m: setattr(m, "current_round", 10**18), "round: expected a whole number from 0 to 100000, got 1000"),
        (
            lambda m: setattr(m, "current_round", -1),
            "a model in the server's message, got none (current_round",
        ),
        (
            lambda m: setattr(m, "current_round", "1"),
            "a model in the server's message, got none (current_round",
        ),
        (lambda m: setattr(m, "current_round", True), "round: expected a whole number from 0 to 100000, got True"),
        (lambda m: setattr(m, "current_round", None), "round: expected a whole number from 0 to 100000, got None"),
        (lambda m: setattr(m, "params", {"w": 3}), "encoder."),
        (
            lambda m: m.params.update({k: 1e6 * v for k, v in m.params.items()}),
            "expected at most 100 times this site's",
        ),
    ],
)
def test_a_message_that_is_none_is_one_line_and_removes_nothing(
    tmp_path: Path, sites: list[str], change: Any, told: str
) -> None:
    run = fedmri(tmp_path, sites[:1], hostile=in_task("train", change, rounds=[1]))
    run.run()
    assert run.panics and codes(run, "site-1", "train") == [ReturnCode.OK, ReturnCode.EXECUTION_EXCEPTION]
    lines = site_log(tmp_path, "site-1")
    assert any(told in line for line in lines) and all("site site-1: " in line for line in lines)
    assert [path.name for path in store_of(tmp_path, "site-1").glob("*/*.pt")] == ["round-0.pt"]


def test_a_job_of_the_same_name_removes_no_other_run_s_state(tmp_path: Path, sites: list[str]) -> None:
    root, sites = tmp_path, sites[:1]
    real = fedmri(root, sites)
    real.run()
    store = store_of(root, "site-1")
    kept = {name: content for name, content in files(store).items() if "round-" in name}
    assert len(kept) == 2
    for _ in range(2):
        fedmri(root, sites).run()
    assert {name: content for name, content in files(store).items() if name in kept} == kept


def test_states_of_an_earlier_version_are_left_alone_and_named_once(
    tmp_path: Path, sites: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    sites = sites[:1]
    fedmri(tmp_path, sites, rounds=1).run()
    store = store_of(tmp_path, "site-1")
    new = next(store.glob("*/round-0.pt"))
    old = store / "round-0.pt"
    os.replace(new, old)
    run = fedmri(tmp_path, sites, rounds=3, resume=True)
    results = run.run()
    assert not run.panics and len(results["methods"]["FedMRI"]["rounds"]) == 3
    warned = [r.getMessage() for r in caplog.records if "states of an earlier version are not used" in r.getMessage()]
    assert len(warned) == 1 and "round-0.pt" in warned[0] and str(store) not in caplog.text
    assert old.exists()


def test_a_late_joiner_learns_at_the_job_s_rate(tmp_path: Path, sites: list[str]) -> None:
    sites = sites[:2]
    present = iter([["site-1"], ["site-1"], ["site-1"], sites, sites])
    run = fedmri(tmp_path, sites, rounds=3, min_clients=1, connected=lambda: next(present))
    run._client["executors"][0]["executor"]["args"]["training"].update(lr_step=1)
    run.run()
    assert not run.panics
    states = [state_in(tmp_path / site / "site_store", "fedmri", site, 2) for site in sites]
    rates = [state["optimizer"]["param_groups"][0]["lr"] for state in states]
    assert rates[0] == rates[1] == 1e-3 * 0.1 * 0.1


def outside(root: Path, space: Path, change: Callable[[FLModel], None]) -> Federation:
    recipe = IOPFLOutsideRecipe(routing_space=str(space), epochs=1, include_code=False)
    run = Federation(recipe, ["outside-1"], root, hostile=in_task("route", change, "outside-1"))
    run.run()
    return run


def rename(model: FLModel, name: Any) -> None:
    model.params = {name: model.params["site-1"], **{k: v for k, v in model.params.items() if k != "site-1"}}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m.params["site-1"].update({"decoder.output.bias": torch.tensor([0.0, NAN])}), "site-1: decoder.out"),
        (lambda m: m.params[GLOBAL].update({"decoder.output.bias": torch.zeros(2).double()}), "global: decoder.output"),
        (lambda m: m.params["site-1"].pop("decoder.output.bias"), "is missing"),
        (lambda m: m.params["site-1"].update({"encoder.blocks.0.1.running_var": -torch.ones(4)}), "variances of 0 or"),
        (lambda m: m.params.update({"site-1": 3}), "expected tensors by name, got a int"),
        (lambda m: rename(m, "../evil"), "expert name '../evil': expected letters"),
        (lambda m: rename(m, "a" * 500), "at most 128"),
        (lambda m: setattr(m, "params", {f"e{i}": {} for i in range(64)} | m.params), "at most 64 models, got 66"),
        (lambda m: setattr(m, "params", {"site-1": m.params["site-1"]}), "sites' models and then 'global'"),
        (lambda m: m.meta.pop(MetaKey.NETWORK), "expected a network's settings"),
        (lambda m: m.meta[MetaKey.NETWORK]["args"].update(channels=2**20), "expected at most 536870912 values"),
        (lambda m: setattr(m, "current_round", 10**18), "round: expected a whole number"),
    ],
)
def test_a_routing_space_that_is_none_is_one_line_and_replaces_no_model(
    tmp_path: Path, cache: Path, change: Any, told: str
) -> None:
    settle(tmp_path, "outside-1", cache)
    experts = {name: build_network(NETWORK, seed).state_dict() for seed, name in enumerate(("site-1", GLOBAL))}
    save_routing_space(tmp_path / "space.safetensors", RoutingSpace(NETWORK, experts))
    store = SiteStore(tmp_path / "outside-1" / "site_store", "iopfl_outside", "outside-1")
    store.save_model("personal.safetensors", {"w": torch.ones(1)}, {})
    kept = files(store.folder)
    run = outside(tmp_path, tmp_path / "space.safetensors", change)
    assert codes(run, "outside-1", "route") == [ReturnCode.EXECUTION_EXCEPTION]
    lines = site_log(tmp_path, "outside-1")
    assert any(told in line for line in lines) and all("site outside-1: " in line for line in lines)
    assert {name: content for name, content in files(store.folder).items() if name != "lock"} == kept


def test_a_run_s_states_of_the_present_job_survive_evictions(tmp_path: Path) -> None:
    store = SiteStore(tmp_path, "job", "site-1")
    mine = RunStates(store, RUN)
    mine.save(7, {"x": 1})
    for number in range(4):
        RunStates(store, f"{number:032x}").save(0, {})
    assert mine.last(9) == (7, {"x": 1})
