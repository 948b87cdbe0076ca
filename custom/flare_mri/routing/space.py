# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The routing space as a file: the personal models of the inside sites and the global model."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from flare_mri.errors import InputError

GLOBAL = "global"
MODEL_NAMES = {
    GLOBAL: "global model",
    "mean": "mean of all predictions",
    "unadapted": "routing before adaptation",
    "routing": "IOP-FL routing",
}
"""What tables and pictures call the predictions of an outside site, besides those of the personal models."""
_FORMAT = "flare-mri routing space 1"
_LIMIT = 4 * 2**30  # bytes; a hundred U-Nets of the paper's size, and half of the memory that README.md asks for
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_TYPES = (*_FLOATS, torch.int64, torch.int32, torch.uint8, torch.bool)


@dataclass(frozen=True)
class RoutingSpace:
    """{p_1 ... p_K, θ_G} of IOP-FL.

    Attributes:
        network: settings of the network all experts belong to.
        experts: name of the inside site, or :data:`GLOBAL`, -> state dict; the global model comes last.
        checksum: of the file that it was read from, SHA-256; empty where it came from none.
    """

    network: dict[str, Any]
    experts: dict[str, dict[str, Tensor]]
    checksum: str = ""

    def __post_init__(self) -> None:
        if list(self.experts)[-1:] != [GLOBAL] or len(self.experts) < 2:
            names = ", ".join(self.experts) or "none"
            raise InputError(f"routing space: expected the sites' models and then {GLOBAL!r}, got {names}")


def save_routing_space(path: Path, space: RoutingSpace) -> str:
    """Write a routing space atomically, with site names, network settings and the returned checksum in its metadata."""
    tensors = {f"{name}/{key}": t.contiguous() for name, state in space.experts.items() for key, t in state.items()}
    description = {"format": _FORMAT, "experts": list(space.experts), "network": space.network}
    digest = checksum(tensors, description)
    metadata = {"flare_mri": json.dumps({**description, "checksum": digest})}
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(safetensors.torch.save(tensors, metadata))
    os.replace(temporary, path)
    return digest


def load_routing_space(path: Path) -> RoutingSpace:
    """Read a routing space.

    Raises:
        InputError: no such file, no safetensors, another format, a checksum that does not match, an expert without
            tensors, a tensor of no expert, or values that are not finite; the message names the file.
    """
    if not os.path.isfile(path):
        raise InputError(f"routing space {path}: no such file; give the file that the job iopfl left on the server")
    if path.stat().st_size > _LIMIT:
        raise InputError(
            f"routing space {path}: expected at most {_LIMIT} bytes, got {path.stat().st_size}; use smaller networks"
        )
    try:
        with safetensors.safe_open(path, "pt") as file:  # its header is checked against the file's size
            description = json.loads((file.metadata() or {}).get("flare_mri", "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    # safetensors raises its own error, and KeyError, TypeError or RuntimeError for types that torch does not know.
    except Exception as e:
        reason = " ".join(str(e).split())[:200] or type(e).__name__
        raise InputError(f"routing space {path}: cannot be read ({reason}); copy it anew") from e
    if not isinstance(description, dict) or description.get("format") != _FORMAT:
        raise InputError(
            f"routing space {path}: expected format {_FORMAT!r}, got another; give a file that the job iopfl wrote"
        )
    found = description.pop("checksum", None)
    if found != checksum(tensors, description):
        raise InputError(
            f"routing space {path}: checksum does not match, the file was changed or damaged; copy it anew"
        )
    try:
        return RoutingSpace(_network(description), _experts(description, tensors), found)
    except InputError as e:
        raise InputError(f"routing space {path}: {e}") from e


def _network(description: dict[str, Any]) -> dict[str, Any]:
    network = description.get("network")
    if not isinstance(network, dict):
        raise InputError("network: expected its settings, got none; run the job iopfl again")
    return network


def _experts(description: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    names = description.get("experts")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError("experts: expected different names, got none; run the job iopfl again")
    experts: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, tensor in tensors.items():
        name, _, entry = key.partition("/")
        if name not in experts:
            raise InputError(f"tensor {key!r} belongs to no expert; copy it anew")
        if tensor.dtype not in _TYPES or (tensor.dtype in _FLOATS and not torch.isfinite(tensor).all()):
            raise InputError(f"tensor {key!r}: expected finite numbers, got others; run the job iopfl again")
        experts[name][entry] = tensor
    missing = [name for name, state in experts.items() if not state]
    if missing:
        raise InputError(f"no model of {', '.join(missing)}; run the job iopfl again with all sites")
    return experts


def checksum(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> str:
    """SHA-256 over the description and over names, types, shapes and bytes of all tensors, in order of names."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
