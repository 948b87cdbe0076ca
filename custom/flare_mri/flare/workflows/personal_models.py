# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""After the last round, of methods whose personal models go to the server: they are gathered, and scored elsewhere."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nvflare.app_common.abstract.fl_model import FLModel
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.flare.aggregators import PartialAggregator
from flare_mri.flare.protocol import TaskName, under

Ask = Callable[..., list[FLModel]]
"""Gives a task to sites, with what it brings; returns their usable answers."""


def gather_personal_models(
    ask: Ask,
    sites: Sequence[str],
    aggregator: PartialAggregator,
    shared: Mapping[str, Tensor],
    round_number: int,
    min_sites: int,
) -> Mapping[str, dict[str, Tensor]]:
    """The sites' personal models, each checked as an update is, and read when it is asked for.

    Args:
        ask: gives a task.
        sites: who is asked.
        aggregator: checks models; its ``rejected`` then says which were left out and why.
        shared: the global model, of whose names, shapes and types they must be.
        round_number: of the job.
        min_sites: good ones that are needed.

    Raises:
        InputError: there are fewer.
    """
    aggregator.begin_round(shared, round_number, whole=True, sites=len(sites))
    ask(TaskName.SUBMIT, sites, {}, at_least=min_sites, take=aggregator.accept_model)
    aggregator.compare_norms(clip=False)
    if len(aggregator.accepted) < min_sites:
        raise InputError(
            f"personal models: {len(aggregator.accepted)} good ones, expected at least {min_sites} "
            f"({aggregator.rejected}); nothing was written"
        )
    return aggregator.counted()


def score_across_sites(
    ask: Ask, personal: Mapping[str, Mapping[str, Tensor]], warn: Callable[[str], None]
) -> dict[str, Any] | None:
    """The scores of each personal model on the test data of each of their sites, as results.json has them.

    FLARE's ``CrossSiteModelEval`` does not serve: it sends every model to every site. Here both are of sites that
    consent, and a site is not told whose models it scores: they come under numbers, in an order drawn anew.

    Args:
        ask: gives a task.
        personal: site -> its personal model, of the sites that consent.
        warn: takes a line where there is nothing to compare.
    """
    names = sorted(personal)
    if len(names) < 2:
        warn(f"cross_site: {len(names)} sites with a personal model consent by their site.yaml, expected at least 2")
        return None
    random.SystemRandom().shuffle(names)
    models = {f"expert-{number}": dict(personal[name]) for number, name in enumerate(names)}
    try:
        answers = ask(TaskName.CROSS_EVALUATE, sorted(names), models, at_least=1)
    except InputError as error:  # the job's own results are complete without it
        warn(f"cross_site: {error}")
        return None
    found = {str(answer.meta["client_name"]): answer.metrics or {} for answer in answers}
    rows, sites = sorted(names), sorted(found)
    number_of = {name: number for number, name in enumerate(names)}
    scored = {row: {site: under(f"expert-{number_of[row]}/test", found[site]) for site in sites} for row in rows}
    metrics = sorted({metric for by_site in scored.values() for values in by_site.values() for metric in values})
    scores = {metric: [[scored[row][site].get(metric) for site in sites] for row in rows] for metric in metrics}
    return {"models": rows, "sites": sites, "scores": scores}
