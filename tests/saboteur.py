# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A site that sends something else wrong in every round; it travels in the job's custom folder, in tests only."""

from collections.abc import Callable

import torch
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from flare_mri.flare.executors import PersonalizedExecutor

SABOTEUR = "site-3"


def first(model: FLModel) -> str:
    return next(key for key, value in model.params.items() if value.is_floating_point())


def fill(value: float) -> Callable[[FLModel], None]:
    def change(model: FLModel) -> None:
        model.params[first(model)] = torch.full_like(model.params[first(model)], value)

    return change


def shape(model: FLModel) -> None:
    model.params[first(model)] = model.params[first(model)][:1]


def missing(model: FLModel) -> None:
    del model.params[first(model)]


def extra(model: FLModel) -> None:
    model.params["decoder.output.weight"] = torch.zeros(1)


def dtype(model: FLModel) -> None:
    model.params[first(model)] = model.params[first(model)].double()


def large(model: FLModel) -> None:
    model.params = {k: v * 1000 if v.is_floating_point() else v for k, v in model.params.items()}


def stale(model: FLModel) -> None:
    model.current_round -= 1


KINDS: list[tuple[str, Callable[[FLModel], None] | None, str]] = [
    ("NaN", fill(float("nan")), "that are not finite"),
    ("infinity", fill(float("inf")), "that are not finite"),
    ("shape", shape, "expected shape (4, 1, 3, 3), got (1, 1, 3, 3)"),
    ("missing", missing, "is missing, expected shape"),
    ("extra", extra, "decoder.output.weight: is not expected"),
    ("dtype", dtype, "expected torch.float32 values, got torch.float64"),
    ("large", large, "expected at most 100 times the round's median"),
    ("stale", stale, "update of round 6, expected round 7"),
    ("error code", None, "going on without site-3"),
    ("empty", None, "going on without site-3"),
]
"""One a round: what is wrong, how to make it so, what the server says of it."""


class Saboteur(PersonalizedExecutor):
    """A good site, but for one."""

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """As the parent; what SABOTEUR trained is then spoilt."""
        reply = super().execute(task_name, shareable, fl_ctx, abort_signal)
        if task_name != "train" or fl_ctx.get_identity_name() != SABOTEUR:
            return reply
        model = FLModelUtils.from_shareable(reply)
        if model.current_round >= len(KINDS):
            return reply
        kind, spoil, _ = KINDS[model.current_round]
        if spoil is None:
            return make_reply(ReturnCode.EXECUTION_EXCEPTION) if kind == "error code" else Shareable()
        spoil(model)
        return FLModelUtils.to_shareable(model)
