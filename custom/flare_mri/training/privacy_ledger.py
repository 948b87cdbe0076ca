# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The privacy ledger of a site: what all jobs together have spent of its patients' privacy, on its own disk."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from flare_mri.atomic_file import write_atomically
from flare_mri.config.base import Settings
from flare_mri.config.names import check_name
from flare_mri.config.privacy import Budget, Unit
from flare_mri.errors import InputError
from flare_mri.extras import import_extra
from flare_mri.files import read_json
from flare_mri.folders import private_folder
from flare_mri.training.run_states import check_run

FOLDER = "_privacy"
"""In a site's store; no job can have a name that begins so."""
_MOST_BYTES = 2**24
_ROUNDING = 1e-9


class BudgetSpentError(InputError):
    """A round of training would cost more than is left; nothing was trained."""


class Spending(Settings):
    """Steps of DP-SGD, all alike."""

    run: str
    """id of the run"""
    job: str
    """name of the job"""
    unit: Unit
    """whose gradients were clipped"""
    noise_multiplier: Annotated[float, Field(gt=0)]
    """σ, noise in units of the clipping norm"""
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    """chance of a patient, or slice, to take part in a step"""
    steps: Annotated[int, Field(ge=1)]
    """number of steps"""

    def kind(self) -> tuple[object, ...]:
        """What two spendings must have in common to be added up."""
        return self.run, self.job, self.unit, self.noise_multiplier, self.sample_rate


class _Ledger(Settings):
    fix: ClassVar[str] = "put the last good copy of this file in its place"
    format_version: Literal[1] = 1
    """the number 1"""
    spent: list[Spending] = []
    """a list of spendings"""


def epsilon_of(spendings: Iterable[Spending], delta: float) -> float:
    """ε at δ of steps after each other, by Opacus' accountant in Rényi differential privacy.

    Rényi's is the composition that also holds where a job's settings are chosen after what earlier ones gave, and where
    training ends as soon as a budget is spent (Feldman and Zrnic, NeurIPS 2021, arXiv 2008.11193).

    Args:
        spendings: all of one unit; with none ε is 0.
        delta: δ.
    """
    accountant = import_extra("dp", "opacus.accountants", "differential privacy").RDPAccountant()
    accountant.history = [(one.noise_multiplier, one.sample_rate, one.steps) for one in spendings]
    return float(accountant.get_epsilon(delta)) if accountant.history else 0.0


class PrivacyLedger:
    """Spendings of all runs at a site, `<store>/_privacy/<site>.json`, and the budget that the site's settings give.

    What a round will cost is written before its first step, so that no crash makes it cheaper; a round that is trained
    again is paid again. The ledger is the site's, not a job's, a seed's or a data set's: a lead who changes those gets
    no new budget.

    Args:
        store: root of the site's store.
        site: name of the site.
        budget: of site.yaml; None: none.

    Raises:
        InputError: a folder that cannot be made or is another user's.
    """

    def __init__(self, store: Path, site: str, budget: Budget | None = None):
        check_name("site", site)
        self.site, self.budget = site, budget
        self.path = private_folder(store / FOLDER, f"site {site}: privacy ledger") / f"{site}.json"

    def check(self, planned: Spending, limit: float | None, delta: float) -> None:
        """See that steps can be paid.

        Args:
            planned: the steps.
            limit: most ε of the run, at `delta`; None: any.
            delta: δ of the run.

        Raises:
            BudgetSpentError: the run or the site would spend more than it may.
            InputError: the ledger cannot be read, or the site's budget is of another unit.
        """
        self._check([*self._read(), planned], planned, limit, delta)

    def charge(self, planned: Spending, limit: float | None, delta: float) -> None:
        """Write down what the next steps cost, once they can be paid; arguments and errors as :meth:`check`."""
        check_run(planned.run)
        with self._locked():
            spent = self._read()
            self._check([*spent, planned], planned, limit, delta)
            same = [one for one in spent if one.kind() == planned.kind()]
            total = planned.model_copy(update={"steps": planned.steps + sum(one.steps for one in same)})
            kept = [one for one in spent if one.kind() != planned.kind()]
            content = _Ledger(spent=[*kept, total]).model_dump()
            write_atomically(self.path, json.dumps(content, indent=1) + "\n", mode=0o600)

    def epsilon_of_run(self, run: str, delta: float) -> float:
        """ε that a run has spent here so far."""
        return epsilon_of((one for one in self._read() if one.run == run), delta)

    def _check(self, spent: list[Spending], planned: Spending, limit: float | None, delta: float) -> None:
        own = epsilon_of((one for one in spent if one.run == planned.run), delta)
        if limit is not None and own > limit + _ROUNDING:
            raise BudgetSpentError(
                f"site {self.site}: dp_epsilon of the job: expected at most {limit:g} at δ {delta:g}, got {own:.4g} "
                "with the next round; it trains no further, raise it or dp_noise_multiplier for another run"
            )
        if self.budget is None:
            return
        if other := next((one for one in spent if one.unit != self.budget.unit), None):
            raise InputError(
                f"site {self.site}: {self.path}: expected runs that protect each {self.budget.unit}, as privacy.unit "
                f"of site.yaml says, got run {other.run} of job {other.job!r} for each {other.unit}; set privacy.unit "
                "to that, or begin a new ledger with new data"
            )
        total = epsilon_of(spent, self.budget.delta)
        if total > self.budget.epsilon + _ROUNDING:
            before = epsilon_of([one for one in spent if one is not planned], self.budget.delta)
            raise BudgetSpentError(
                f"site {self.site}: privacy.epsilon of site.yaml: expected at most {self.budget.epsilon:g} at δ "
                f"{self.budget.delta:g} for all jobs, got {total:.4g} with the next round, {before:.4g} without it "
                f"({self.path}); it trains no further"
            )

    def _read(self) -> list[Spending]:
        if not os.path.lexists(self.path):
            return []
        content = read_json(self.path, _MOST_BYTES, _Ledger.fix)
        return _Ledger.read(content, f"site {self.site}, {self.path}").spent

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two jobs of one site do not pay from the same coin."""
        try:
            handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise InputError(f"site {self.site}: {self.path}: cannot be written ({error.strerror}); free it") from error
        with os.fdopen(handle):
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
