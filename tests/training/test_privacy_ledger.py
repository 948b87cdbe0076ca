# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What was spent stays spent: over rounds, restarts, jobs and seeds."""

import stat
from pathlib import Path
from typing import Any

import pytest

from flare_mri.config.privacy import Budget
from flare_mri.errors import InputError
from flare_mri.training.privacy_ledger import BudgetSpentError, PrivacyLedger, Spending, epsilon_of

pytest.importorskip("opacus")


def steps(**changes: Any) -> Spending:
    return Spending(
        **{
            "run": "a" * 32,
            "job": "fedmri",
            "unit": "patient",
            "noise_multiplier": 1.1,
            "sample_rate": 0.1,
            "steps": 50,
        }
        | changes
    )


def test_epsilon_is_that_of_opacus_own_accountant(tmp_path: Path) -> None:
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    for noise, rate, count in ((1.1, 0.1, 100), (0.8, 0.05, 30)):
        for _ in range(count):
            accountant.step(noise_multiplier=noise, sample_rate=rate)
    ledger = PrivacyLedger(tmp_path, "site-1")
    for _ in range(2):
        ledger.charge(steps(), None, 1e-5)
    ledger.charge(steps(noise_multiplier=0.8, sample_rate=0.05, steps=30), None, 1e-5)
    assert ledger.epsilon_of_run("a" * 32, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-9)
    assert ledger.epsilon_of_run("b" * 32, 1e-5) == 0


def test_a_restart_another_run_and_another_job_go_on_from_what_was_spent(tmp_path: Path) -> None:
    budget = Budget(epsilon=8, delta=1e-5)
    PrivacyLedger(tmp_path, "site-1", budget).charge(steps(steps=120), None, 1e-5)
    later = PrivacyLedger(tmp_path, "site-1", budget)
    spent = epsilon_of([steps(steps=120)], 1e-5)
    assert 4 < spent < 8
    message = rf"expected at most 8 at δ 1e-05 for all jobs, got .* with the next round, {spent:.4g} without it"
    with pytest.raises(BudgetSpentError, match=message):
        later.charge(steps(run="b" * 32, job="other", steps=1000), None, 1e-5)
    assert later.epsilon_of_run("b" * 32, 1e-5) == 0, "what was refused is not spent"
    later.charge(steps(run="b" * 32, job="other", steps=10), None, 1e-5)
    PrivacyLedger(tmp_path, "site-2", budget).charge(steps(steps=120), None, 1e-5)  # another hospital's patients


def test_a_ledger_that_cannot_be_believed_ends_training(tmp_path: Path) -> None:
    ledger = PrivacyLedger(tmp_path, "site-1")
    ledger.charge(steps(), None, 1e-5)
    whole = ledger.path.read_text()
    for content in (whole[:-20], whole.replace('"steps": 50', '"steps": -50'), whole.replace("1.1", "0")):
        ledger.path.write_text(content)
        with pytest.raises(InputError, match=r"site-1\.json.*put the last good copy of this file in its place"):
            ledger.charge(steps(), None, 1e-5)


def test_slices_and_patients_are_not_added_up(tmp_path: Path) -> None:
    PrivacyLedger(tmp_path, "site-1").charge(steps(unit="slice"), None, 1e-5)
    with pytest.raises(InputError, match=r"expected runs that protect each patient, .* of job 'fedmri' for each slice"):
        PrivacyLedger(tmp_path, "site-1", Budget(epsilon=100)).charge(steps(), None, 1e-5)


def test_the_ledger_is_its_owners_alone_and_no_job_can_have_its_folder(tmp_path: Path) -> None:
    from flare_mri.training import SiteStore

    ledger = PrivacyLedger(tmp_path / "store", "site-1")
    ledger.charge(steps(), None, 1e-5)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in ledger.path.parent.iterdir()}
    assert modes == {"site-1.json": 0o600, "site-1.lock": 0o600}
    assert stat.S_IMODE(ledger.path.parent.stat().st_mode) == 0o700
    with pytest.raises(InputError, match="job name"):
        SiteStore(tmp_path / "store", ledger.path.parent.name, "site-1")
