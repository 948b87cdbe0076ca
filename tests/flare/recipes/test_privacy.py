# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Jobs with differential privacy through the real executors: budgets hold whatever a job says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, write_site
from federation import Federation, state_in, weights_in
from flare_mri.errors import InputError
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLRecipe
from flare_mri.report.results import validate_results
from flare_mri.training import TrainingSettings

pytest.importorskip("opacus")
SITES = ["site-1", "site-2"]


def federation(tmp_path: Path, cache: Path, rounds: int, fresh: bool = False, method: str = "FedMRI", **learn: Any):
    for site in SITES:
        if not (tmp_path / site).exists():
            write_site(tmp_path / site, cache)
    training = TrainingSettings(lr=1e-3, **learn)
    name = f"job-{method.lower()}-{rounds}"
    recipe = FedMRIRecipe(
        name=name, network=TINY, method=method, min_clients=2, num_rounds=rounds, training=training, include_code=False
    )
    return Federation(recipe, SITES, tmp_path, fresh=fresh)


def allow(tmp_path: Path, site: str, text: str) -> None:
    with (tmp_path / site / "local" / "site.yaml").open("a") as file:
        file.write(f"privacy: {text}\n")


def test_a_site_trains_until_its_budget_is_spent(tmp_path: Path, cache: Path) -> None:
    first = federation(tmp_path, cache, 3, dp_noise_multiplier=5.0)
    results = first.run()
    assert not first.panics
    run = results["methods"]["FedMRI"]
    epsilons = [row["sites"]["site-1"]["epsilon"] for row in run["rounds"]]
    assert 0 < epsilons[0] < epsilons[1] < epsilons[2] == run["sites"]["site-1"]["privacy"]["epsilon"]
    assert run["sites"]["site-1"]["privacy"]["delta"] == 1e-5
    validate_results(results)

    # a budget for four of such rounds, of which three are spent; site-2 has none
    ledger = json.loads((tmp_path / "site-1" / "site_store" / "_privacy" / "site-1.json").read_text())["spent"]
    assert len(ledger) == 1 and ledger[0]["job"] == "job-fedmri-3"
    from flare_mri.training.privacy_ledger import Spending, epsilon_of

    four = Spending(**{**ledger[0], "steps": ledger[0]["steps"] // 3 * 4})
    budget = epsilon_of([four], 1e-5) + 0.01
    allow(tmp_path, "site-1", f"{{epsilon: {budget}, delta: 1e-5}}")
    second = federation(tmp_path, cache, 4, fresh=True, dp_noise_multiplier=5.0)
    results = second.run()
    assert not second.panics
    rows = results["methods"]["FedMRI"]["rounds"]
    assert [bool(row["sites"]["site-1"].get("privacy_spent")) for row in rows] == [False, True, True, True]
    assert [bool(row["sites"]["site-2"].get("privacy_spent")) for row in rows] == [False] * 4
    assert rows[0]["sites"]["site-1"]["epsilon"] == rows[3]["sites"]["site-1"]["epsilon"] == epsilons[0]
    assert "did not train in 3 rounds" in results["methods"]["FedMRI"]["sites"]["site-1"]["note"]
    sent = [weights_in(m) for site, name, m in second.sent if (site, name) == ("site-1", "train")]
    for number in (1, 2, 3):  # what it sends is what it was sent
        received = second.saved[number - 1]["params"]
        assert all(torch.equal(value, received[key]) for key, value in sent[number].items())
    assert not all(torch.equal(value, second.saved[0]["params"][key]) for key, value in sent[0].items())
    told = (tmp_path / "site-1" / "flare_mri.log").read_text()
    assert f"expected at most {budget:g} at δ 1e-05 for all jobs" in told

    third = federation(tmp_path, cache, 2, dp_noise_multiplier=5.0)  # not even one round is left
    third.run()
    assert third.panics and "not ready: site-1" in third.panics[0]


def test_no_loss_of_a_private_job_leaves_and_what_a_site_keeps_is_as_private(tmp_path: Path, cache: Path) -> None:
    """The private decoder is trained by the same noisy steps: its change is as random as the encoder's."""
    states = []
    for place in ("one", "two"):
        run = federation(tmp_path / place, cache, 1, dp_noise_multiplier=50.0, dp_max_grad_norm=1e-3)
        run.run()
        assert not run.panics
        assert b"train/loss" not in run.wire_of("site-1") and b"privacy/epsilon" in run.wire_of("site-1")
        states.append(state_in(tmp_path / place / "site-1" / "site_store", "job-fedmri-1", "site-1", 0))
    same = [torch.equal(value, states[1]["network"][key]) for key, value in states[0]["network"].items()]
    assert same and not any(same), "noise is drawn anew, for every private tensor too"


@pytest.mark.parametrize(
    ("learn", "budget"),
    [({}, "{epsilon: 8}"), ({"dp_epsilon": 8.0, "dp_unit": "slice"}, "{epsilon: 8, unit: patient}")],
)
def test_a_job_that_does_not_protect_as_the_site_demands_is_refused(
    tmp_path: Path, cache: Path, learn: dict[str, Any], budget: str
) -> None:
    run = federation(tmp_path, cache, 1, **learn)
    allow(tmp_path, "site-1", budget)
    run.run()
    words = "for each slice" if learn else "without dp_noise_multiplier or dp_epsilon"
    assert run.panics and f"refused by site-1: privacy {words} is outside its policy" in run.panics[0]
    assert not [name for site, name, _ in run.sent if name == "train"]


def test_ditto_is_refused_and_norms_that_mix_patients_with_the_fix(tmp_path: Path, cache: Path) -> None:
    run = federation(tmp_path, cache, 1, method="Ditto", dp_noise_multiplier=1.0)
    run.run()
    assert "Ditto: expected no differential privacy" in (tmp_path / "site-1" / "flare_mri.log").read_text()
    with pytest.raises(InputError, match="network: expected no layer that mixes .* got BatchNorm2d .*--norm group"):
        IOPFLRecipe(training=TrainingSettings(dp_epsilon=8.0))
