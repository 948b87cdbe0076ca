# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The server's rounds: send the shared part, gather, check, average, save."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from nvflare.apis.fl_constant import FLContextKey
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.app_event_type import AppEventType
from nvflare.fuel.utils.memory_utils import cleanup_memory
from torch import Tensor

from flare_mri.config.privacy import PRIVATE
from flare_mri.config.server import ServerSettings
from flare_mri.errors import InputError
from flare_mri.flare.aggregators import PartialAggregator
from flare_mri.flare.protocol import CONSENT, MetaKey, TaskName
from flare_mri.flare.workflows.answers import LOSS, NEEDED, Answers, job_in_words
from flare_mri.flare.workflows.checkpoint import Checkpoint, RunStore
from flare_mri.flare.workflows.controller import SiteController
from flare_mri.flare.workflows.personal_models import gather_personal_models, score_across_sites
from flare_mri.flare.workflows.roster import Roster
from flare_mri.flare.workflows.run_record import RunRecord
from flare_mri.flare.workflows.tracking import tell_curves
from flare_mri.methods import find_method
from flare_mri.networks import build_meta_network

_CLEAN_UP_EVERY = 5  # rounds; FLARE's advice for servers, whose allocator else keeps what messages took


class PersonalizedFedAvg(SiteController):
    """Rounds of federated averaging over the shared part of personalised networks.

    FLARE's own FedAvg is not used since a round here has a deadline, a minimum of good answers and checked updates,
    carries what the method's server part sends (:class:`flare_mri.methods.ServerHooks`) to every site, and ends with
    a validation of the last aggregate. Before its first round every site is asked to check its own data and settings.
    FLARE 2.9 resumes no job, so every finished round is kept in a store of the job's name
    (:class:`~flare_mri.flare.workflows.checkpoint.RunStore`), from which a new job of that name can go on.

    Args:
        method: name of the method, see :data:`flare_mri.methods.METHODS`, under which results are listed.
        num_rounds: rounds of training.
        min_sites: good updates a round needs; with fewer the job ends and the global model stays what it was.
        options: the method's own settings.
        round_timeout: seconds after which a round ends with the answers it has; 0 waits for ever.
        wait_time_after_min_received: seconds to wait for further sites once `min_sites` have answered.
        sites_per_round: sites asked in a round, drawn anew each round from those that are ready; 0 all. A round then
            needs no more good updates than that.
        shut_out_after: rounds in which a site's update was left out, after which it is asked no more; 0 never.
        resume: go on after the last finished round of the job of this name, with the sites' private states of it.
        tracking: where curves go, ``tensorboard`` or ``mlflow``.
        cross_site: score the personal models of sites that consent at each of them, after the last round.
        settings: what results.json tells of the job; ``job`` names the store, the rest is compared when resuming.
        aggregator_id: component id of a :class:`~flare_mri.flare.aggregators.PartialAggregator`.
        persistor_id: component id of the persistor of the global shared part.
        task_check_period: seconds between looks at the answers.
    """

    def __init__(
        self,
        method: str,
        num_rounds: int,
        min_sites: int,
        options: dict[str, Any] | None = None,
        round_timeout: int = 0,
        wait_time_after_min_received: int = 600,
        sites_per_round: int = 0,
        shut_out_after: int = 0,
        resume: bool = False,
        tracking: str = "tensorboard",
        cross_site: bool = False,
        settings: dict[str, Any] | None = None,
        aggregator_id: str = "aggregator",
        persistor_id: str = "persistor",
        task_check_period: float = 0.1,
    ):
        super().__init__(persistor_id=persistor_id, task_check_period=task_check_period)
        values = {"num_rounds": num_rounds, "min_sites": min_sites, "round_timeout": round_timeout}
        values["wait_time_after_min_received"] = wait_time_after_min_received
        values |= {"sites_per_round": sites_per_round, "shut_out_after": shut_out_after}
        ServerSettings.read({**values, "tracking": tracking}, "controller")
        self._method = find_method(method)
        self._hooks = self._method.server(self._method.options.read(options or {}, f"method {method}"))
        self.method = method
        self.num_rounds = num_rounds
        self.min_sites = min_sites
        self.options = options
        self.round_timeout = round_timeout
        self.wait_time_after_min_received = wait_time_after_min_received
        self.sites_per_round = sites_per_round
        self.shut_out_after = shut_out_after
        self.resume = resume
        self.tracking = tracking
        self.cross_site = cross_site
        self.settings = settings or {}
        self.aggregator_id = aggregator_id
        self.persistor_id = persistor_id
        self.task_check_period = task_check_period
        training = self.settings.get("training", {})
        self._roster = Roster(sites_per_round, training.get("seed", 0))
        self._private = any(training.get(name) is not None for name in PRIVATE)
        self._answers = Answers(job_in_words(method, self.settings), self.warning)

    def run_job(self) -> None:
        """Check, train `num_rounds` rounds, validate.

        Raises:
            InputError: another job of this name runs, a site is not ready, or too few give good answers.
        """
        aggregator = self.get_component(self.aggregator_id)
        if not isinstance(aggregator, PartialAggregator):
            raise InputError(
                f"component {self.aggregator_id!r}: expected a PartialAggregator, got a {type(aggregator).__name__}; "
                "correct aggregator_id"
            )
        aggregator.folder = Path(self.get_run_dir())
        root = self.fl_ctx.get_prop(FLContextKey.WORKSPACE_ROOT)  # type: ignore[union-attr]
        store = RunStore(Path(root), self.settings.get("job", self.method))
        store.lock()
        try:
            record = RunRecord(self.get_run_dir(), self.method, self.settings, self.tracking, self.warning)
            self.tell(tell_curves(Path(self.get_run_dir()), self.tracking))
            finished = False
            try:
                finished = self._train(aggregator, store, record)
            finally:
                record.close(finished)
        finally:
            store.unlock()

    def _train(self, aggregator: PartialAggregator, store: RunStore, record: RunRecord) -> bool:
        """All rounds, and what comes after them; returns whether they came to their end."""
        first, shared, run = self._start(aggregator, store, record)
        for round_number in range(first, self.num_rounds):
            started = time.monotonic()
            self.event(AppEventType.ROUND_STARTED)
            sites = self._roster.draw(self._ready_sites(record), round_number)
            least = self._roster.least(self.min_sites)
            extra, message = self._hooks.extra(), self._hooks.message()
            aggregator.begin_round(shared, round_number, extra, sites=len(sites))
            meta = {MetaKey.RUN: run} | ({} if message is None else {MetaKey.METHOD: message})
            self._ask(TaskName.TRAIN, sites, shared | extra, round_number, meta, least, aggregator.accept_model)
            if self.is_aborted():
                return False
            mean = self._aggregate(aggregator, round_number, least)
            shared = {key: mean[key] for key in shared}
            answered = len(aggregator.accepted) / max(len(self._roster.ready), len(aggregator.accepted))
            self._hooks.after_round(shared, aggregator.counted(), {key: mean[key] for key in extra}, answered)
            metrics = {site: update.metrics for site, update in aggregator.accepted.items()}
            told = aggregator.treated() | ({"drawn": set(sites)} if self.sites_per_round else {})
            record.file_round(round_number, metrics, time.monotonic() - started, told)
            for site in sorted(record.shut_out(self.shut_out_after) & aggregator.rejected.keys()):
                self.warning(f"{site} is asked no more: its update was left out in {self.shut_out_after} rounds")
            scales = aggregator.scale.value, aggregator.extra_scale.value
            store.save(Checkpoint(run, round_number, shared, self._hooks.state(), record.entry, *scales))
            self._save(shared, round_number)
            if round_number % _CLEAN_UP_EVERY == 0:
                cleanup_memory()
            self.tell(record.line(round_number, self.num_rounds))
        self.event(AppEventType.TRAINING_FINISHED)
        meta, sent = {MetaKey.RUN: run}, shared | self._hooks.extra()
        ready = self._ready_sites(record)
        if self.sites_per_round:  # one that was asked in no round has no model to score
            ready = [site for site in ready if site in record.drawn()]
        least = min(self.min_sites, len(ready))
        record.file_validation(self._ask(TaskName.VALIDATE, ready, sent, self.num_rounds, meta, least))
        if self._method.gathers_personal_models:
            ask = partial(self._ask, round_number=self.num_rounds, meta=meta)
            ready = [site for site in self.find_sites() if site in self._roster.ready]
            ready = [site for site in ready if site in record.drawn()] if self.sites_per_round else ready
            least = min(self.min_sites, len(ready))
            personal = gather_personal_models(ask, ready, aggregator, shared, self.num_rounds, least)
            for site, problem in sorted(aggregator.rejected.items()):
                self.warning(f"personal model of {site} left out: {problem}")
            folder = Path(self.get_run_dir())
            self.tell(self._hooks.finish(personal, shared, self.settings, folder, record.test_scores()))
            if self.cross_site:
                taken = self._roster.consenting - record.shut_out(self.shut_out_after)
                given = {site: state for site, state in personal.items() if site in taken}
                record.file_cross_site(score_across_sites(ask, given, self.warning))
        self.tell(f"results of {self.method}: {record.path.name}")
        return True

    def _start(
        self, aggregator: PartialAggregator, store: RunStore, record: RunRecord
    ) -> tuple[int, dict[str, Tensor], str]:
        """The first round to train, the shared part before it, and the run's id."""
        if self.resume:
            last = store.load(self.method, self.settings, self.num_rounds)
            record.resume(last.record)
            aggregator.scale.value, aggregator.extra_scale.value = last.scale, last.extra_scale
            self._hooks.restore(last.method)
            self.tell(f"resuming run {last.run} after round {last.finished + 1} of {self.num_rounds}")
            self._check_sites(self.find_sites(), record, last.run)
            return last.finished + 1, last.shared, last.run
        run = uuid.uuid4().hex
        self._check_sites(self.find_sites(), record, run)
        shared = {k: torch.as_tensor(v) for k, v in self.load_model().params.items()}
        names = {name for name, _ in build_meta_network(self.settings["network"]).named_parameters()}
        self._hooks.begin_job({key: value for key, value in shared.items() if key in names})
        return 0, shared, run

    def _check_sites(self, sites: Sequence[str], record: RunRecord, run: str) -> None:
        """Ask every site to look at its own data and settings; before the first round all must be ready."""
        self._roster.asked |= set(sites)
        answers = self._ask(TaskName.CHECK, sites, {}, 0, {MetaKey.RUN: run}, at_least=len(sites))
        self._note_checks(record, answers)

    def _note_checks(self, record: RunRecord, answers: list[FLModel]) -> None:
        """Who is ready, and who takes and gives personal models."""
        self._roster.ready |= record.file_checks(answers)
        self._roster.consenting |= {str(a.meta["client_name"]) for a in answers if CONSENT in (a.metrics or {})}

    def _ready_sites(self, record: RunRecord) -> list[str]:
        """The connected sites that are ready and not shut out; one that has come since the start is checked, once."""
        sites = self.find_sites()
        late = [site for site in sites if site not in self._roster.asked]
        if late:
            self._roster.asked |= set(late)
            self._note_checks(record, self._ask(TaskName.CHECK, late, {}, 0, {}, at_least=0))
        admitted = self._roster.ready - record.shut_out(self.shut_out_after)
        return [site for site in sites if site in admitted]

    def _ask(
        self,
        task: str,
        sites: Sequence[str],
        shared: Mapping[str, Tensor],
        round_number: int,
        meta: dict[str, Any],
        at_least: int | None = None,
        take: Callable[[FLModel], Any] | None = None,
    ) -> list[FLModel]:
        """The usable answers of `sites`, without tensors, which `take` gets; with fewer than `at_least` (`min_sites`)
        the job ends."""
        at_least = self.min_sites if at_least is None else at_least
        if len(sites) < at_least or not sites:
            raise InputError(f"{len(sites)} sites are connected ({', '.join(sites)}), the job needs {self.min_sites}")
        data = FLModel(
            params_type=ParamsType.FULL,
            params=dict(shared),
            current_round=round_number,
            total_rounds=self.num_rounds,
            meta=dict(meta),
        )
        answers, missing = self.collect_answers(
            self._answers,
            data,
            task,
            sites,
            [name for name in NEEDED.get(task, ()) if name != LOSS or not self._private],
            take,
            min_responses=at_least,
            timeout=self.round_timeout or (0 if at_least else self.wait_time_after_min_received),
            wait_time_after_min_received=self.wait_time_after_min_received,
        )
        if missing and not self.is_aborted():
            self._answers.tell_missing(task, round_number, missing, len(answers), at_least)
        return answers

    def _aggregate(self, aggregator: PartialAggregator, round_number: int, least: int) -> dict[str, Tensor]:
        """The new global shared part; the log tells what was left out, scaled down or capped."""
        aggregator.compare_norms()
        for site, problem in sorted(aggregator.rejected.items()):
            self.warning(f"round {round_number}: update of {site} left out: {problem}")
        if len(aggregator.accepted) < least:
            reasons = "; ".join(f"{site}: {problem}" for site, problem in sorted(aggregator.rejected.items()))
            raise InputError(
                f"round {round_number}: {len(aggregator.accepted)} good updates, expected at least {least} "
                f"({reasons}); the global model stays as it was"
            )
        shared = aggregator.aggregate_model().params or {}
        for remark in aggregator.remarks():
            self.tell(f"round {round_number}: {remark}")
        return shared

    def _save(self, shared: dict[str, Tensor], round_number: int) -> None:
        if shared:
            self.save_model(FLModel(params=shared, meta={"round": round_number}))
