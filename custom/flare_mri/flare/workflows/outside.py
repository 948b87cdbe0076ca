# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The outside of IOP-FL on the server: give the routing space to hospitals that never trained."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

from flare_mri.errors import InputError
from flare_mri.flare.protocol import PHANTOM, MetaKey, TaskName, under
from flare_mri.flare.workflows.answers import Answers, job_in_words
from flare_mri.flare.workflows.controller import SiteController
from flare_mri.flare.workflows.run_record import RESULTS_FILE, run_entry, write_results
from flare_mri.routing.space import MODEL_NAMES, RoutingSpace, load_routing_space, row_names

_OWN = ("matched", "routing")
"""Rows of the model that a strategy made for the site."""

SPACE_VARIABLE = "FLARE_MRI_ROUTING_SPACE"


class RouteOutside(SiteController):
    """Sends the routing space to every connected site and files the numbers that come back.

    Args:
        routing_space: path of the file on the server; empty takes ``$FLARE_MRI_ROUTING_SPACE``. A path in a job is
            the lead's to choose, what lies there must still be a routing space with a matching checksum.
        min_sites: sites that must answer.
        timeout: seconds to wait for them; 0 waits for ever.
        settings: what results.json tells of the job.
        task_check_period: seconds between looks at the answers.
    """

    def __init__(
        self,
        routing_space: str = "",
        min_sites: int = 1,
        timeout: int = 0,
        settings: dict[str, Any] | None = None,
        task_check_period: float = 0.1,
    ):
        super().__init__(persistor_id="", task_check_period=task_check_period)
        self.routing_space = routing_space
        self.min_sites = min_sites
        self.timeout = timeout
        self.settings = settings or {}
        self.task_check_period = task_check_period

    def run_job(self) -> None:
        """Check the sites, send the routing space, file the answers.

        Raises:
            InputError: there is no routing space, or too few sites answer.
        """
        started = time.monotonic()
        path = self.routing_space or os.environ.get(SPACE_VARIABLE, "")
        if not path:
            raise InputError(f"routing space: no path; give it to the job or set ${SPACE_VARIABLE} on the server")
        space = load_routing_space(Path(path))
        self._answers = Answers(job_in_words(MODEL_NAMES["routing"], {"network": space.network}), self.warning)
        self._ask(TaskName.CHECK, space, {})
        answers = self._ask(TaskName.ROUTE, space, space.experts)
        methods = self._methods(space, answers, time.monotonic() - started)
        file = Path(self.get_run_dir()) / RESULTS_FILE
        write_results(file, methods)
        self.tell(f"results of routing: {file.name}")

    def _ask(self, task: str, space: RoutingSpace, experts: Mapping[str, Any]) -> list[FLModel]:
        """The usable answers; the network's settings come with the check too, so that a site can refuse them there."""
        meta = {MetaKey.NETWORK: space.network, MetaKey.PLAN: space.plan.model_dump(mode="json")}
        meta |= {MetaKey.DICE: dict(space.dice)} if space.dice and experts else {}
        data = FLModel(params_type=ParamsType.FULL, params=dict(experts), current_round=0, meta=meta)
        waiting: dict[str, Any] = {"min_responses": 0, "timeout": self.timeout}
        needs = ["slices/test"]
        answers, missing = self.collect_answers(self._answers, data, task, self.find_sites(), needs, **waiting)
        if len(answers) < self.min_sites or (task == TaskName.CHECK and missing):
            self._answers.end_if_refused(missing)
            names = ", ".join(missing)
            raise InputError(f"{task}: no usable answer from {names}; the log of each such site names what to correct")
        return answers

    def _methods(self, space: RoutingSpace, answers: list[FLModel], seconds: float) -> dict[str, Any]:
        """One entry a row of the comparison: each personal model and :data:`MODEL_NAMES`."""
        origin = {
            "network": space.network,
            "plan": space.plan.model_dump(mode="json"),
            "routing_space": {"checksum": space.checksum, "models": list(space.experts)},
        }
        methods: dict[str, Any] = {}
        scored = {key for answer in answers for key in _rows(answer.metrics or {})}
        for key, method in row_names(list(space.experts)).items():
            if scored and key not in scored:
                continue
            entry = run_entry({**self.settings, **origin, "num_rounds": 0}, method)
            entry["seconds"] = round(seconds, 1)
            for answer in answers:
                metrics = dict(answer.metrics or {})
                site: dict[str, Any] = {
                    "data": {"test": int(metrics["slices/test"])},
                    "test": under(f"{key}/test", metrics),
                }
                if PHANTOM in metrics:
                    site["phantom"] = True
                if key in _OWN:
                    site |= _routing(metrics, list(space.experts))
                entry["sites"][str(answer.meta["client_name"])] = site
            methods[method] = entry
        return methods


def _rows(metrics: Mapping[str, float]) -> set[str]:
    """Rows of the comparison that an answer has scores of."""
    return {name.split("/")[0] for name in metrics if name.split("/")[1] == "test" and not name.startswith("slices")}


def _routing(metrics: dict[str, float], experts: list[str]) -> dict[str, Any]:
    """Numbers of routing without labels, as the report takes them."""
    layers: dict[str, dict[int, float]] = {}
    for name, value in under("routing/weight", metrics).items():
        layer, number = name.split("/")
        layers.setdefault(layer, {})[int(number)] = value
    complete = all(sorted(weights) == list(range(len(experts))) for weights in layers.values())
    found: dict[str, Any] = {"adaptation_seconds": metrics.get("routing/seconds")}
    if layers and complete and {"routing/entropy_before", "routing/entropy_after"} <= metrics.keys():
        weights = [[of_layer[i] for i in range(len(experts))] for of_layer in layers.values()]
        found["routing"] = {"experts": experts, "layers": list(layers), "weights": weights}
        found["entropy"] = {when: metrics[f"routing/entropy_{when}"] for when in ("before", "after")}
        found["movement"] = metrics.get("routing/movement")
    if metrics.get("routing/fallback"):
        found["note"] = "Adaptation failed at this site; the global model was used. The site's log says why."
    return found
