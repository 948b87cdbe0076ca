# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Site-side validation of the server's messages: nothing in them is believed."""

from collections.abc import Mapping
from typing import Any

from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from torch import Tensor

from flare_mri.config.names import check_name
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.errors import InputError
from flare_mri.flare.protocol import MetaKey
from flare_mri.networks import build_meta_state
from flare_mri.routing import check_experts
from flare_mri.routing.space import RoutingSpace
from flare_mri.training import check_round, check_run

MOST_EXPERTS = 64
"""Of a routing space: memory and time at an outside site grow with their number."""


def read_model(site: str, shareable: Shareable) -> FLModel:
    """The model of a task's message.

    Raises:
        InputError: it holds none, or its round is no round's number.
    """
    try:
        model = FLModelUtils.from_shareable(shareable)
        if model.current_round is not None:
            check_round(model.current_round)
        return model
    # FLARE raises ValueError, TypeError, KeyError and AttributeError for messages that are none of its own.
    except Exception as e:
        reason = " ".join(str(e).split())[:200] or type(e).__name__
        raise InputError(f"site {site}: expected a model in the server's message, got none ({reason})") from e


def read_run(site: str, model: FLModel) -> tuple[str, int]:
    """The run's id and the round that a message names.

    Raises:
        InputError: one of them is missing or could be no run's.
    """
    try:
        return check_run(model.meta.get(MetaKey.RUN)), check_round(model.current_round)
    except InputError as e:
        raise InputError(f"site {site}: {e}; the server runs another program") from e


def read_plan(site: str, model: FLModel) -> SegmentationPlan:
    """What the models of a routing space mark, and in what pieces they see a volume.

    Raises:
        InputError: the message says something else.
    """
    return SegmentationPlan.read(model.meta.get(MetaKey.PLAN), f"site {site}: the server's plan")


def read_models(site: str, model: FLModel, like: Mapping[str, Tensor]) -> dict[str, Mapping[str, Tensor]]:
    """Models of a message by name, each checked against the state of a network.

    Raises:
        InputError: none or more than :data:`MOST_EXPERTS` models, or one that is not of that network.
    """
    try:
        _check_names(model.params)
        models = dict[str, Any](model.params)
        check_experts(like, models)
        return models
    except InputError as e:
        raise InputError(f"site {site}: {e}") from e


def _check_names(experts: Any) -> None:
    if not isinstance(experts, Mapping):
        raise InputError("models: expected models by name, got others")
    if len(experts) > MOST_EXPERTS:
        raise InputError(f"expected at most {MOST_EXPERTS} models, got {len(experts)}")
    for name in experts:
        check_name("expert", name)


def read_space(site: str, model: FLModel) -> RoutingSpace:
    """The routing space of a message, checked before memory is taken for the network that it is said to be of.

    Raises:
        InputError: no settings of a network, none or more than :data:`MOST_EXPERTS` models, a name that could lead out
            of a folder, a model that is not one of that network, or scores that are none.
    """
    try:
        network, experts = model.meta.get(MetaKey.NETWORK), model.params
        if not isinstance(network, dict):
            raise InputError("routing space: expected a network's settings, got others")
        _check_names(experts)
        dice = model.meta.get(MetaKey.DICE, {})
        space = RoutingSpace(network, dict[str, Any](experts), read_plan(site, model), dice=dice)
        check_experts(build_meta_state(network), space.experts)
        return space
    except InputError as e:
        raise InputError(f"site {site}: {e}") from e
