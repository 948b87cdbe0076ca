# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The server's rounds: send the shared part, gather, check, average, save."""

import time
import uuid
from collections.abc import Mapping
from typing import Any

import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.workflows.model_controller import ModelController
from nvflare.app_opt.pt.decomposers import TensorDecomposer
from nvflare.fuel.utils import fobs
from torch import Tensor

from flare_mri.aggregators import PartialAggregator
from flare_mri.errors import InputError
from flare_mri.wire import MetaKey, TaskName
from flare_mri.workflows.run_record import RunRecord

NEGATIVES = ("all", "own", "none")


class PersonalizedFedAvg(ModelController):
    """Rounds of federated averaging over the shared part of personalised networks.

    FLARE's own FedAvg is not used since a round here has a deadline, a minimum of good answers and checked updates,
    carries the sites' former encoders (the negatives of FedMRI's contrastive term) to every site, and ends with a
    validation of the last aggregate. Before the first round every site is asked to check its own data and settings.

    Args:
        method: name under which results are listed, e.g. ``FedMRI``.
        num_rounds: rounds of training.
        min_sites: good updates a round needs; with fewer the job ends and the global model stays what it was.
        negatives: ``all`` sends every site's former shared parameters to every site (the paper), ``own`` and ``none``
            send no site's weights to anyone.
        negatives_dtype: ``float32``, or ``bfloat16`` for half the bytes; what travels are differences from the
            global model.
        round_timeout: seconds after which a round ends with the answers it has; 0 waits for ever.
        grace: seconds to wait for further sites once `min_sites` have answered.
        settings: what results.json tells of the job; not used otherwise.
        aggregator_id: component id of a :class:`~flare_mri.aggregators.PartialAggregator`.
        persistor_id: component id of the persistor of the global shared part.
        task_check_period: seconds between looks at the answers.
    """

    def __init__(
        self,
        method: str,
        num_rounds: int,
        min_sites: int,
        negatives: str = "all",
        negatives_dtype: str = "float32",
        round_timeout: int = 0,
        grace: int = 600,
        settings: dict[str, Any] | None = None,
        aggregator_id: str = "aggregator",
        persistor_id: str = "persistor",
        task_check_period: float = 0.1,
    ):
        super().__init__(
            persistor_id=persistor_id,
            ignore_result_error=True,
            allow_empty_global_weights=True,
            task_check_period=task_check_period,
        )
        if num_rounds < 1 or min_sites < 1:
            raise InputError(f"num_rounds = {num_rounds}, min_sites = {min_sites}: expected 1 or more")
        if negatives not in NEGATIVES:
            raise InputError(f"negatives {negatives!r}: expected one of {', '.join(NEGATIVES)}")
        if negatives_dtype not in ("float32", "bfloat16"):
            raise InputError(f"negatives_dtype {negatives_dtype!r}: expected float32 or bfloat16")
        self.method = method
        self.num_rounds = num_rounds
        self.min_sites = min_sites
        self.negatives = negatives
        self.negatives_dtype = negatives_dtype
        self.round_timeout = round_timeout
        self.grace = grace
        self.settings = settings or {}
        self.aggregator_id = aggregator_id
        self.persistor_id = persistor_id
        self.task_check_period = task_check_period

    def run(self) -> None:
        """Check, train `num_rounds` rounds, validate; a message that names the site ends the job where one fails."""
        fobs.register(TensorDecomposer)
        aggregator = self.get_component(self.aggregator_id)
        if not isinstance(aggregator, PartialAggregator):
            self.panic(
                f"component {self.aggregator_id!r} is a {type(aggregator).__name__}, expected a PartialAggregator"
            )
            return
        try:
            self._run(aggregator)
        except InputError as e:
            self.panic(str(e))

    def _run(self, aggregator: PartialAggregator) -> None:
        model = self.load_model()
        shared: dict[str, Tensor] = {k: torch.as_tensor(v) for k, v in model.params.items()}
        meta: dict[str, Any] = {MetaKey.RUN: uuid.uuid4().hex}
        record = RunRecord(self.get_run_dir(), self.method, self.settings)
        record.checked(self._ask(TaskName.CHECK, {}, 0, meta))
        for round_number in range(self.num_rounds):
            started = time.monotonic()
            self.event(AppEventType.ROUND_STARTED)
            aggregator.begin_round(shared, round_number)
            answers = self._ask(TaskName.TRAIN, shared, round_number, meta)
            if self._aborted():
                return
            for answer in answers:
                aggregator.accept_model(answer)
            self._check_round(aggregator, round_number)
            shared = aggregator.aggregate_model().params or {}
            meta[MetaKey.NEGATIVES] = self._encode_negatives(aggregator.accepted, shared)
            self._save(shared, round_number, meta)
            record.trained(round_number, aggregator.accepted, time.monotonic() - started)
            self.info(record.line(round_number, self.num_rounds))
        self.event(AppEventType.TRAINING_FINISHED)
        record.validated(self._ask(TaskName.VALIDATE, shared, self.num_rounds, {MetaKey.RUN: meta[MetaKey.RUN]}))
        self._finish(aggregator, shared, meta)
        self.info(f"results of {self.method}: {record.path}")

    def _finish(self, aggregator: PartialAggregator, shared: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """For subclasses: what is left to do after the last validation."""

    def _ask(self, task: str, shared: Mapping[str, Tensor], round_number: int, meta: dict[str, Any]) -> list[FLModel]:
        sites = sorted(client.name for client in self.engine.get_clients())  # type: ignore[union-attr]
        if len(sites) < self.min_sites:
            raise InputError(f"{len(sites)} sites are connected ({', '.join(sites)}), the job needs {self.min_sites}")
        data = FLModel(
            params_type=ParamsType.FULL,
            params=dict(shared),
            current_round=round_number,
            total_rounds=self.num_rounds,
            meta=dict(meta),
        )
        answers = self.broadcast_model(
            data,
            task_name=task,
            targets=sites,
            min_responses=len(sites) if task == TaskName.CHECK else self.min_sites,
            timeout=self.round_timeout,
            wait_time_after_min_received=self.grace,
        )
        answered = {answer.meta["client_name"] for answer in answers}
        missing = [site for site in sites if site not in answered]
        if missing and task == TaskName.CHECK and not self._aborted():
            raise InputError(
                f"not ready: {', '.join(missing)}; each such site's log names what to mend, no round was run"
            )
        if len(answered) < self.min_sites and not self._aborted():
            raise InputError(
                f"{task} in round {round_number}: {len(answered)} of {len(sites)} sites answered, expected at least "
                f"{self.min_sites}; no usable answer from {', '.join(missing)}, see their logs"
            )
        return answers

    def _aborted(self) -> bool:
        return self.abort_signal is not None and bool(self.abort_signal.triggered)

    def _check_round(self, aggregator: PartialAggregator, round_number: int) -> None:
        for site, problem in sorted(aggregator.rejected.items()):
            self.warning(f"round {round_number}: update of {site} left out: {problem}")
        if len(aggregator.accepted) < self.min_sites:
            reasons = "; ".join(f"{site}: {problem}" for site, problem in sorted(aggregator.rejected.items()))
            raise InputError(
                f"round {round_number}: {len(aggregator.accepted)} good updates, expected at least {self.min_sites} "
                f"({reasons}); the global model stays as it was"
            )

    def _encode_negatives(
        self, updates: Mapping[str, FLModel], shared: Mapping[str, Tensor]
    ) -> dict[str, dict[str, Tensor]]:
        """The sites' former shared parameters as differences from the new global model."""
        if self.negatives != "all":
            return {}
        dtype = getattr(torch, self.negatives_dtype)
        return {
            site: {k: (v - shared[k]).to(dtype) for k, v in updates[site].params.items() if v.is_floating_point()}
            for site in sorted(updates)
        }

    def _save(self, shared: dict[str, Tensor], round_number: int, meta: dict[str, Any]) -> None:
        if shared:
            self.save_model(FLModel(params=shared, meta={**meta, "round": round_number}))
