# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Members that mean harm, or whose policy says no, in a job: sites that run another program."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.fuel.utils import fobs

from conftest import TINY, write_site
from federation import Federation, weights_in
from flare_mri.flare.protocol import MetaKey
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLOutsideRecipe
from flare_mri.flare.workflows.answers import NEEDED, Answers
from flare_mri.flare.workflows.outside import _routing
from flare_mri.networks import SharedPart, build_network
from flare_mri.routing.space import GLOBAL, RoutingSpace, save_routing_space
from flare_mri.training import SiteStore, TrainingSettings

SITES = ["site-1", "site-2"]


def federation(root: Path, cache: Path, sites: list[str] = SITES, rounds: int = 1, **options: Any) -> Federation:
    for site in sites:
        if not (root / site).exists():
            write_site(root / site, cache)
    harness = {k: options.pop(k) for k in ("tamper", "connected") if k in options}
    training = TrainingSettings(augmentation=True)  # steps of the same rate, however often a job is resumed
    settings = {"network": TINY, "training": training, "min_clients": len(sites) - 1, "num_rounds": rounds, **options}
    return Federation(FedMRIRecipe(include_code=False, **settings), sites, root, **harness)


def metrics_of(member: str, asked: str, **metrics: Any) -> Callable[[str, str, FLModel], FLModel]:
    """`member` sends these metrics too, or instead, with its answer to one task; None takes one out."""

    def tamper(site: str, task: str, model: FLModel) -> FLModel:
        if (site, task) == (member, asked):
            changed = {**model.metrics, **{k.replace("__", "/"): v for k, v in metrics.items()}}
            model.metrics = {k: v for k, v in changed.items() if v is not None}
        return model

    return tamper


@pytest.mark.parametrize("claim", [10**7, 1e9, 1.7e308])
def test_a_claim_of_slices_holds_for_the_job(
    tmp_path: Path, cache: Path, claim: float, caplog: pytest.LogCaptureFixture
) -> None:
    tamper = metrics_of("site-2", "train", slices__train=claim)
    run = federation(tmp_path, cache, weighting="slices", tamper=tamper)
    results = run.run()["methods"]["FedMRI"]
    assert not run.panics and [sorted(row["sites"]) for row in results["rounds"]] == [["site-1"]]
    assert "train: answer of site-2 left out:" in caplog.text and "slices/train" in caplog.text
    told = "as it said when it was checked" if claim <= 10**7 else "expected a whole number of at most 10000000"
    assert told in caplog.text
    honest = next(weights_in(m) for site, task, m in run.sent if (site, task) == ("site-1", "train"))
    assert all(torch.equal(value, honest[key]) for key, value in run.saved[-1]["params"].items())


def test_a_claim_of_slices_holds_for_the_personal_model_too() -> None:
    told: list[str] = []
    answers = Answers({}, told.append)

    def answer(slices: float) -> FLModel:
        return FLModel(metrics={"slices/train": slices, "train/loss": 1.0}, meta={"client_name": "a"})

    assert answers.is_usable(answer(12), "check", NEEDED["check"])
    for task in ("train", "submit_model"):
        assert answers.is_usable(answer(12), task, NEEDED[task])
        assert not answers.is_usable(answer(13), task, NEEDED[task])
        assert (
            told.pop() == f"{task}: answer of a left out: slices/train: 13, expected 12 as it said when it was checked"
        )


@pytest.mark.parametrize(
    "sent", [{"a/0": 1.0}, {"a/0": 0.5, "a/1": 0.5, "b/1": 1.0}, {"a/0": 0.5, "a/1": 0.2, "a/01": 0.3, "a/2": 0.1}]
)
def test_routing_weights_that_are_not_one_for_each_expert_are_not_filed(sent: dict[str, float]) -> None:
    """The report reads a table of them."""
    entropy = {"routing/entropy_before": 1.0, "routing/entropy_after": 0.5}
    assert "routing" not in _routing({**entropy, **{f"routing/weight/{k}": v for k, v in sent.items()}}, ["a", GLOBAL])
    good = _routing({**entropy, "routing/weight/l/1": 0.25, "routing/weight/l/0": 0.75}, ["a", GLOBAL])
    assert good["routing"] == {"experts": ["a", GLOBAL], "layers": ["l"], "weights": [[0.75, 0.25]]}


@pytest.mark.parametrize("claim, told", [(1e9, "at most 10000000"), (0.0, "at least one"), (None, "is missing")])
def test_an_impossible_claim_at_the_check_is_not_ready(
    tmp_path: Path, cache: Path, claim: float | None, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = federation(tmp_path, cache, tamper=metrics_of("site-2", "check", slices__train=claim))
    run.run()
    assert run.panics == ["not ready: site-2; each such site's log names what to correct, no round was run"]
    assert "check: answer of site-2 left out: " in caplog.text and told in caplog.text


def test_a_claim_holds_after_a_resume(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert federation(tmp_path, cache).run()["methods"]
    tamper = metrics_of("site-2", "train", slices__train=9999.0)
    run = federation(tmp_path, cache, rounds=2, resume=True, tamper=tamper)
    rows = run.run()["methods"]["FedMRI"]["rounds"]
    assert [sorted(row["sites"]) for row in rows] == [SITES, ["site-1"]]
    assert "slices/train: 9999, expected" in caplog.text and "as it said when it was checked" in caplog.text


def test_invented_metrics_are_left_out(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    invented = {f"validation__invented_{i}": 1.0 for i in range(5)}
    run = federation(tmp_path, cache, tamper=metrics_of("site-2", "train", **invented))
    assert "invented" not in str(run.run()["methods"]) and not run.panics
    assert "answer of site-2 left out: metric 'validation/invented_0' is not listed" in caplog.text


def attack(run: Federation) -> Callable[[str, str, FLModel], FLModel]:
    """From the second round on site-2 sends back what it got; in the third site-1's update is 30 times too large."""

    def tamper(site: str, task: str, model: FLModel) -> FLModel:
        if task == "train" and model.current_round:
            given = next(g for s, t, g, _ in reversed(run.wire) if (s, t) == (site, task))
            shared = FLModelUtils.from_shareable(fobs.loads(given)).params
            factor = 0.0 if site == "site-2" else 30.0 if model.current_round == 2 else 1.0
            model.params = {k: shared[k] + factor * (v - shared[k]) for k, v in model.params.items()}
        return model

    return tamper


def test_zeros_of_half_the_sites_open_no_hole_also_after_a_resume(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calm = federation(tmp_path / "calm", cache, rounds=3)
    calm.tamper = attack(calm)
    rows = calm.run()["methods"]["FedMRI"]["rounds"]
    assert [sorted(row["sites"]) for row in rows] == [SITES] * 3 and "left out" not in caplog.text
    steps = [saved["params"] for saved in calm.saved]
    moved = [sum(float((b[k] - a[k]).square().sum()) for k in a) ** 0.5 for a, b in zip(steps, steps[1:], strict=False)]
    assert moved[0] > 0, "the honest update counted"
    scale = SiteStore(tmp_path / "calm" / "run_store", "fedmri", "server").load("checkpoint.pt")["scale"]  # type: ignore[index]
    assert moved[1] == pytest.approx(3 * scale / 2, rel=1e-2), "30 times too large, and scaled down to three medians"
    federation(tmp_path / "again", cache, rounds=1).run()
    for rounds in (2, 3):
        resumed = federation(tmp_path / "again", cache, rounds=rounds, resume=True)
        resumed.tamper = attack(resumed)
        resumed.run()
    assert all(torch.equal(value, steps[-1][key]) for key, value in resumed.saved[-1]["params"].items())


def test_one_update_99_times_too_large_is_scaled_down(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = SharedPart(TINY, "encoder").state_dict()

    def tamper(site: str, task: str, model: FLModel) -> FLModel:
        if (site, task) == ("site-3", "train"):
            model.params = {k: first[k] - 99 * (v - first[k]) for k, v in model.params.items()}
        return model

    run = federation(tmp_path, cache, [*SITES, "site-3"], tamper=tamper)
    caplog.set_level("INFO")
    run.run()
    assert "round 0: update of site-3 scaled down to" in caplog.text
    sent = [weights_in(m) for _, task, m in run.sent if task == "train"]
    honest = max(sum(float((s[k] - v).square().sum()) for k, v in first.items()) ** 0.5 for s in sent)
    moved = sum(float((run.saved[0]["params"][k] - v).square().sum()) for k, v in first.items()) ** 0.5
    assert moved < 5 / 3 * honest * 1.1


def refusing(member: str, **parts: float) -> Callable[[str, str, FLModel], FLModel]:
    def tamper(site: str, task: str, model: FLModel) -> FLModel:
        if (site, task) == (member, "check"):
            model.metrics = {f"refused/{part}": value for part, value in parts.items()}
        return model

    return tamper


def test_a_site_whose_policy_refuses_the_job_ends_it_with_one_line(tmp_path: Path, cache: Path) -> None:
    run = federation(tmp_path, cache, tamper=refusing("site-2", optimizer=1.0, network=1.0))
    run.run()
    assert run.panics == [
        "refused by site-2: network flare_mri.networks.unet.UNet {'channels': 4, 'num_pools': 2} is outside its policy"
        ", optimizer 'rmsprop' is outside its policy; take a setting that the site admits or leave the site out"
    ]
    assert {task for _, task, _ in run.sent} == {"check"}


def test_who_is_not_ready_is_named_beside_who_refuses(tmp_path: Path, cache: Path) -> None:
    write_site(tmp_path / "site-1", cache)
    (tmp_path / "site-1" / "local" / "site.yaml").write_text("data: {format: dicom, root: /nowhere/at/all}\n")
    run = federation(tmp_path, cache, tamper=refusing("site-2", method=1.0, shared_layers=1.0))
    run.run()
    assert run.panics == [
        "refused by site-2: method 'FedMRI' is outside its policy, shared_layers 'encoder' is outside its policy; "
        "not ready besides: site-1; take a setting that the site admits or leave the site out"
    ]


def test_a_late_site_that_refuses_is_not_used(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    present = iter([["site-1"], *[SITES] * 5])
    run = federation(tmp_path, cache, tamper=refusing("site-2", optimizer=1.0), connected=lambda: next(present))
    results = run.run()["methods"]["FedMRI"]
    assert not run.panics and sorted(results["sites"]) == ["site-1"]
    assert [task for site, task, _ in run.sent if site == "site-2"] == ["check"]
    assert "answer of site-2 left out: refused: optimizer 'rmsprop' is outside its policy" in caplog.text


def test_an_outside_site_may_refuse_the_routing_space(tmp_path: Path, cache: Path) -> None:
    network = {"path": TINY["path"], "args": {"channels": 4, "num_pools": 2, "in_channels": 3, "out_channels": 2}}
    state = build_network(network, 0).state_dict()
    path = tmp_path / "space.safetensors"
    save_routing_space(path, RoutingSpace(network, {"site-1": state, GLOBAL: state}))
    write_site(tmp_path / "outside-1", cache)
    run = Federation(IOPFLOutsideRecipe(routing_space=str(path), include_code=False), ["outside-1"], tmp_path)
    run.tamper = refusing("outside-1", network=1.0, optimizer=1.0)
    run.run()
    assert [task for _, task, _ in run.sent] == ["check"] and len(run.panics) == 1
    assert run.panics[0].startswith("refused by outside-1: network flare_mri.networks.unet.UNet {'channels': 4, ")
    assert "is outside its policy, optimizer of the job is outside its policy; take a setting" in run.panics[0]


def test_negatives_come_without_names(tmp_path: Path, cache: Path) -> None:
    run = federation(tmp_path, cache, rounds=2, negatives="all")
    run.run()
    given = [fobs.loads(g) for site, task, g, _ in run.wire if task == "train"]
    for first, second in zip(given[:2], given[2:], strict=True):
        assert MetaKey.METHOD not in FLModelUtils.from_shareable(first).meta
        negatives = FLModelUtils.from_shareable(second).meta[MetaKey.METHOD]
        assert isinstance(negatives, list) and len(negatives) == 2, "the site's own among them"
    assert not any(b"site-" in g for _, task, g, _ in run.wire if task == "train")
    kept = SiteStore(tmp_path / "run_store", "fedmri", "server").load("checkpoint.pt")
    assert kept is not None and sorted(kept["method"]["negatives"]) == SITES
