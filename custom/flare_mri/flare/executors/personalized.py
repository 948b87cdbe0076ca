# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE on the hospital's side: the executor that trains."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.fuel.utils.memory_utils import cleanup_memory
from torch import Tensor, zeros_like

from flare_mri.config.results import BASELINES, BEST
from flare_mri.errors import InputError
from flare_mri.flare.executors.base import Action, ModelExecutor
from flare_mri.flare.executors.evaluation import evaluate, evaluate_models, keep_personal_model, tell_contrast_of
from flare_mri.flare.executors.received import read_models, read_run
from flare_mri.flare.executors.run_state import restore_learner
from flare_mri.flare.executors.site import Site
from flare_mri.flare.executors.training_site import TrainingSite, open_training_site
from flare_mri.flare.filters.update_privacy import note_received
from flare_mri.flare.protocol import CONSENT, PHANTOM, MetaKey, TaskName, add_prefix, payload_bytes
from flare_mri.methods.base import SiteHooks
from flare_mri.metrics.volume_scores import SCORES_FILE, scores_text
from flare_mri.networks import build_network, check_size
from flare_mri.parallel import LocalJob
from flare_mri.training import (
    SPLITS,
    Learner,
    RoundReport,
    RunStates,
    Split,
    check_round,
)
from flare_mri.training.privacy_ledger import BudgetSpentError
from flare_mri.training.run_states import MOST_ROUNDS
from flare_mri.training.task import check_takes_images, check_trains


class PersonalizedExecutor(ModelExecutor):
    """Trains, validates and keeps a hospital's personal model.

    On the wire: a ``train`` task brings the global shared part and, in its metadata, the run's id and the method's
    message; the answer is the site's shared part, further tensors under the method's prefix where it has one, and named
    metrics (:mod:`flare_mri.flare.protocol`), nothing else. What is
    private is read from the site store at the start of every round and written back at its end, so a process may die
    between any two rounds and the numbers stay the same. The store is locked for the time of the job.

    Args:
        job: name of the job; names the folder in the site store.
        method: name of the method, see :data:`flare_mri.methods.METHODS`; the hospital's policy admits it or not.
        task: ``reconstruction`` or ``segmentation``.
        network: ``{"path": class, "args": {...}}``, see :func:`flare_mri.networks.build_network`.
        shared_layers: what is shared, see :func:`flare_mri.networks.shared_keys`.
        training: settings of :class:`~flare_mri.config.training.TrainingSettings`.
        options: the method's own settings.
        site_networks: site -> network arguments that differ there, such as ``{"site-2": {"decoder": "refined"}}``; the
            shared part must stay the same.
        update_dtype: how updates travel, see :mod:`flare_mri.networks.differences`.
        require_site_config: refuse to fall back on the phantom where the site has no ``site.yaml``.
    """

    def __init__(
        self,
        job: str,
        method: str,
        task: str,
        network: dict[str, Any],
        shared_layers: str | list[str],
        training: dict[str, Any],
        options: dict[str, Any] | None = None,
        site_networks: dict[str, dict[str, Any]] | None = None,
        update_dtype: str = "float32",
        require_site_config: bool = False,
    ):
        super().__init__(job, require_site_config)
        self.method = method
        self.task = task
        self.network = network
        self.shared_layers = shared_layers
        self.training = training
        self.options = options
        self.site_networks = site_networks
        self.update_dtype = update_dtype
        self._job = LocalJob(job, task, method, network, shared_layers, training, options or {}, update_dtype)
        self._settings, self._method = self._job.settings, self._job.found_method
        self._settings.lr_of_round(0)  # raises where the schedule is not complete
        if task not in self._method.tasks:
            raise InputError(f"method {method}: expected a task of {', '.join(self._method.tasks)}, got {task!r:.80}")
        if self._settings.weight_average and self._method.site.personal is not SiteHooks.personal:
            raise InputError(
                f"weight_average: expected none for {method}, which has a personal model of its own, got "
                f"{self._settings.weight_average}; leave it out"
            )
        _ = self._job.method_options  # raises where they are none
        self._site: TrainingSite | None = None
        self._run = ""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """End the site's processes with the job."""
        super().handle_event(event_type, fl_ctx)
        if event_type == EventType.END_RUN and self._site is not None:
            self._site.close()

    def actions(self) -> Mapping[str, Action]:
        """The tasks of a training job."""
        return {
            TaskName.CHECK: self._check,
            TaskName.TRAIN: self._train,
            TaskName.VALIDATE: self._validate,
            TaskName.SUBMIT: self._submit,
            TaskName.CROSS_EVALUATE: self._cross_evaluate,
        }

    def refusals(self, site: Site, model: FLModel) -> dict[str, str]:
        """Refusals of the site's policy; a network too large for anyone is an error, once the policy admits it."""
        network, policy = self._network_of(site.config.site), site.policy
        refused = policy.refusals(self.method, network, self.shared_layers, self._settings.optimizer) if policy else {}
        if site.config.privacy and (phrase := site.config.privacy.refusal(self._settings)):
            refused["privacy"] = phrase
        if not refused:
            check_size(network)
        return refused

    def _check(self, model: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        here = self._training_site(fl_ctx)
        task, store, learner = here.task, here.store, self._learner(here, model)
        check_takes_images(learner.network, task)
        if learner.private is not None:
            learner.private.check(learner.network)
        if here.processes is not None:
            here.processes.start(lambda: bool(abort_signal.triggered))
            self.log_info(fl_ctx, f"site {task.site}: {here.processes.described()}")
        if MetaKey.RUN in model.meta:  # a run that is resumed: on the data that it was trained on?
            run, _ = read_run(task.site, model)
            if last := RunStates(store, run).last(MOST_ROUNDS + 1):
                learner.restore(last[1], last[0])
        slices: dict[str, float] = {split: float(len(task.dataset(split))) for split in SPLITS}  # type: ignore[arg-type]
        metrics = add_prefix("slices", slices)
        baselines = task.baselines(self._settings.classical, store.save_arrays)
        for name, found in baselines.items():
            metrics |= add_prefix(f"{name}/test", found.metrics)
        if baselines:
            store.save_text(SCORES_FILE, scores_text({BASELINES[name]: one.volumes for name, one in baselines.items()}))
        if self._method.gathers_personal_models and self.open_site(fl_ctx).config.cross_site:
            metrics[CONSENT] = 1.0
        if self.open_site(fl_ctx).config.is_phantom():
            metrics[PHANTOM] = 1.0
        return FLModel(metrics=metrics)

    def _train(self, model: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        learner, states, round_number = self._take_up(model, fl_ctx)
        here, task = self._training_site(fl_ctx), learner.task
        received: dict[str, Tensor] = model.params or {}
        learner.receive(received)
        metrics: dict[str, float] = {}
        if round_number and round_number % self._settings.evaluate_every == 0:
            splits: list[Split] = ["validation", "test"] if self._settings.test_each_round else ["validation"]
            metrics |= evaluate(learner, self.method, received, round_number - 1, splits)[0]
        message = model.meta.get(MetaKey.METHOD)
        for problem in learner.hooks.read_message(message, received, learner):
            self.log_warning(fl_ctx, f"site {task.site}: round {round_number}: left out: {problem}")
        further = {key: zeros_like(received[key]) for key in learner.hooks.extra_like(learner)}
        try:
            report, update = here.train(learner, received, message, round_number, lambda: bool(abort_signal.triggered))
        except BudgetSpentError as spent:
            self.note(fl_ctx, f"site {task.site}: privacy budget spent; it sends what it received", str(spent))
            report, update = RoundReport(math.nan, check_trains(task), 0.0), learner.shared_state() | further
            metrics["privacy/spent"] = 1.0
        # further tensors are differences already: a privacy filter is to filter the whole of them
        reference = received | further
        note_received(fl_ctx, reference)
        update = learner.feedback.compress(update, reference)
        states.save(round_number, learner.private_state())
        cleanup_memory(cuda_empty_cache=task.device.type == "cuda")  # FLARE's advice: after every round at a site
        metrics |= learner.private.metrics() if learner.private else {"train/loss": report.loss}
        metrics |= {
            "train/seconds": report.seconds,
            "slices/train": float(report.slices),
            "wire/received": float(payload_bytes(model.params) + payload_bytes(model.meta)),
            "wire/sent": float(payload_bytes(update)),
        }
        return FLModel(params_type=ParamsType.FULL, params=update, metrics=metrics)

    def _validate(self, model: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        """Evaluate the last aggregate, then the personal models; scores of volumes and pictures stay in the store."""
        learner, states, rounds = self._take_up(model, fl_ctx)
        task = learner.task
        splits: list[Split] = ["validation", "test"]
        metrics, volumes = evaluate(learner, self.method, model.params or {}, rounds - 1, splits)
        if told := tell_contrast_of(task, learner.network):
            self.log_warning(fl_ctx, f"site {task.site}: {told}")
        if learner.best is None:
            raise InputError(f"site {task.site}: no model was ever validated; nothing to report")
        best = learner.network_with(learner.best["network"])
        found = task.evaluate_volumes(best, "test")
        metrics |= add_prefix("best/test", found.metrics)
        metrics |= add_prefix("best/validation", learner.best["validation"])
        metrics["best/round"] = float(learner.best["round"])
        metrics |= learner.private.metrics() if learner.private else {}
        personal = learner.personal() or learner.best["network"]
        network = self._network_of(task.site)
        dice = metrics.get("personal/test/dice", found.metrics.get("dice", math.nan))
        if former := keep_personal_model(learner, states, self.job, self.task, network, personal, dice):
            self.log_info(fl_ctx, f"site {task.site}: the personal model of the run before is kept as {former}")
        states.store.save_text(SCORES_FILE, scores_text({**volumes, self.method + BEST: found.volumes}), states.run)
        return FLModel(metrics=metrics)

    def _submit(self, model: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        """Give the personal model to the server, where the method gathers them: an expert of IOP-FL's routing space."""
        site = fl_ctx.get_identity_name()
        if not self._method.gathers_personal_models:
            raise InputError(
                f"site {site}: {self.method} keeps personal models at the sites, the server asks for this one"
            )
        learner, _, _ = self._take_up(model, fl_ctx)
        task = learner.task
        if self.shared_layers != "all":  # the personal model is a whole network
            raise InputError(
                f"site {task.site}: a job that shares {self.shared_layers!r:.80} asks for the personal model"
            )
        personal = learner.personal()
        if personal is None:
            raise InputError(f"site {task.site}: no personal model of this run; it has not trained in it")
        slices = {"slices/train": float(len(task.dataset("train")))}  # type: ignore[arg-type]
        return FLModel(params_type=ParamsType.FULL, params=personal, metrics=slices)

    def _cross_evaluate(self, model: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        """Score the models of sites, whose names it is not told, on this site's test data; none of them is kept."""
        site = fl_ctx.get_identity_name()
        if not (self._method.gathers_personal_models and self.open_site(fl_ctx).config.cross_site):
            raise InputError(f"site {site}: takes no other site's model: cross_site of its site.yaml does not say so")
        task = self._training_site(fl_ctx).task
        network = build_network(self._network_of(task.site), self._settings.seed).to(task.device)
        models = read_models(site, model, network.state_dict())
        return FLModel(metrics=evaluate_models(task, network, models, lambda: bool(abort_signal.triggered)))

    def _learner(self, here: TrainingSite, model: FLModel) -> Learner:
        rounds = check_round(model.total_rounds) if self._settings.private else None
        return here.build_learner(rounds, str(model.meta.get(MetaKey.RUN, "")))  # a late site is checked without one

    def _network_of(self, site: str) -> dict[str, Any]:
        return {**self.network, "args": {**self.network.get("args", {}), **(self.site_networks or {}).get(site, {})}}

    def _take_up(self, model: FLModel, fl_ctx: FLContext) -> tuple[Learner, RunStates, int]:
        """The site's learner as its last round of this very run left it, where that is kept, and the job's round."""
        run, round_number = read_run(fl_ctx.get_identity_name(), model)
        here = self._training_site(fl_ctx)
        if self._run not in ("", run):
            raise InputError(f"site {here.store.site}: the job began as run {self._run}, got a task of run {run}")
        self._run, learner, states = run, self._learner(here, model), RunStates(here.store, run)
        restore_learner(self, fl_ctx, learner, states, round_number)
        return learner, states, round_number

    def _training_site(self, fl_ctx: FLContext) -> TrainingSite:
        if self._site is None:
            site = self.open_site(fl_ctx)
            if site.notice:
                self.note(fl_ctx, site.notice, f"no site.yaml at {', '.join(map(str, site.looked))}")
            job = dataclasses.replace(self._job, network=self._network_of(site.config.site))
            self._site = open_training_site(site, job)
        return self._site
