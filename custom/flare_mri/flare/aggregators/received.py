# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Server-side validation of one site's update."""

from collections.abc import Mapping

from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

from flare_mri.errors import InputError
from flare_mri.flare.aggregators.round_updates import State
from flare_mri.flare.protocol import MAX_SLICES
from flare_mri.networks.differences import add, expand
from flare_mri.networks.state_check import problem_in_state


def read_update(model: FLModel, expected: State, round_number: int, claims_slices: bool, update_dtype: str) -> State:
    """The tensors of an update, in the types of `expected`, once it is one.

    Args:
        model: as it came.
        expected: tensors by name, of which shapes and types count, and to which rounded differences are added.
        round_number: that the update must be of.
        claims_slices: whether it must say how many training slices it is of.
        update_dtype: how it travelled, see :mod:`flare_mri.networks.differences`.

    Raises:
        InputError: it is none; the message is the first reason why.
    """
    if model.current_round != round_number:
        raise InputError(f"update of round {model.current_round}, expected round {round_number}")
    if model.params_type != ParamsType.FULL or not isinstance(model.params, Mapping):
        raise InputError(f"parameters of type {model.params_type}, expected {ParamsType.FULL}")
    if claims_slices:
        slices = (model.metrics or {}).get("slices/train")
        if not isinstance(slices, (int, float)) or not 1 <= slices <= MAX_SLICES or slices != int(slices):
            raise InputError(f"slices/train: {slices!r:.40}, expected the number of training slices, 1 to {MAX_SLICES}")
    update = model.params
    if update_dtype != "float32":
        differences, problem = expand(model.params, expected, update_dtype)
        if problem:
            raise InputError(problem)
        update = add(expected, differences)
    if problem := problem_in_state(expected, update):
        raise InputError(problem)
    return dict(update)
