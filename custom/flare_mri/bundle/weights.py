# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Weights to begin a job with: of a bundle, a personal model or any network whose names and shapes are the job's."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.inference.personal_model import load_personal_model
from flare_mri.networks.state_check import problem_in_state
from flare_mri.tensor_description import stored_description
from flare_mri.tensor_file import MOST_BYTES

_GIVE = "give a bundle's models/model.pt, a personal.safetensors or another safetensors file of the network"


def load_initial_weights(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values for the shared part of a network from a file, which may hold the rest of a network too.

    Nothing in the file is run: a ``.pt`` file is read with ``weights_only``, any other as safetensors.

    Args:
        path: the file.
        expected: the shared part by name; only shapes and types count.

    Raises:
        InputError: no such file, one that is too large or cannot be read, or one that lacks a tensor of the shared
            part or holds it in another shape or type or with values that are not finite.
    """
    named = f"initial_weights {path}"
    if not os.path.isfile(path):
        raise InputError(f"{named}: expected a file, got none; {_GIVE}")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{named}: expected at most {MOST_BYTES} bytes, got {path.stat().st_size}; {_GIVE}")
    state = _read(path, named)
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise InputError(f"{named}: expected tensors by name, got a {type(state).__name__}; {_GIVE}")
    shared = {key: state[key] for key in expected if key in state}
    if problem := problem_in_state(expected, shared):
        raise InputError(f"{named}: {problem}; {_GIVE}, with the job's --network and arguments")
    return shared


def _read(path: Path, named: str) -> Any:
    if path.suffix in (".pt", ".pth"):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise InputError(f"{named}: cannot be read as plain tensors ({_first_line(error)}); {_GIVE}") from error
    if stored_description(path):  # one of ours, with a checksum
        return load_personal_model(path).state
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError, KeyError, RuntimeError, TypeError) as error:
        raise InputError(f"{named}: cannot be read as safetensors ({_first_line(error)}); {_GIVE}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
