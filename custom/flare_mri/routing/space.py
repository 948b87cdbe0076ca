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
_FORMAT = "flare-mri routing space 1"
_LIMIT = 8 * 2**30  # bytes; larger than any space of U-Nets, small enough not to fill a machine's memory


@dataclass(frozen=True)
class RoutingSpace:
    """{p_1 ... p_K, θ_G} of IOP-FL.

    Attributes:
        network: settings of the network all experts belong to.
        experts: name of the inside site, or :data:`GLOBAL`, -> state dict; the global model comes last.
    """

    network: dict[str, Any]
    experts: dict[str, dict[str, Tensor]]

    def __post_init__(self) -> None:
        if list(self.experts)[-1:] != [GLOBAL] or len(self.experts) < 2:
            names = ", ".join(self.experts) or "none"
            raise InputError(f"routing space: expected the sites' models and then {GLOBAL!r}, got {names}")


def save_routing_space(path: Path, space: RoutingSpace) -> None:
    """Write a routing space atomically, with site names, network settings and a checksum in its metadata."""
    tensors = {f"{name}/{key}": t.contiguous() for name, state in space.experts.items() for key, t in state.items()}
    description = {"format": _FORMAT, "experts": list(space.experts), "network": space.network}
    metadata = {"flare_mri": json.dumps({**description, "checksum": checksum(tensors)})}
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(safetensors.torch.save(tensors, metadata))
    os.replace(temporary, path)


def load_routing_space(path: Path) -> RoutingSpace:
    """Read a routing space.

    Raises:
        InputError: no such file, no safetensors, another format, an expert without tensors, a tensor of no expert, or a
            checksum that does not match; the message names the file.
    """
    if not path.is_file():
        raise InputError(f"routing space {path}: no such file; give the file that the job iopfl left on the server")
    if path.stat().st_size > _LIMIT:
        raise InputError(f"routing space {path}: {path.stat().st_size} bytes, expected at most {_LIMIT}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {}).get("flare_mri", "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, json.JSONDecodeError, OSError) as e:
        raise InputError(f"routing space {path}: cannot be read ({' '.join(str(e).split())}); copy it anew") from e
    if not isinstance(description, dict) or description.get("format") != _FORMAT:
        raise InputError(f"routing space {path}: expected format {_FORMAT!r}; give a file that the job iopfl wrote")
    if description.get("checksum") != checksum(tensors):
        raise InputError(
            f"routing space {path}: checksum does not match, the file was changed or damaged; copy it anew"
        )
    experts: dict[str, dict[str, Tensor]] = {name: {} for name in description["experts"]}
    for key, tensor in tensors.items():
        name, _, entry = key.partition("/")
        if name not in experts:
            raise InputError(f"routing space {path}: tensor {key!r} belongs to no expert; copy it anew")
        experts[name][entry] = tensor
    missing = [name for name, state in experts.items() if not state]
    if missing:
        raise InputError(
            f"routing space {path}: no model of {', '.join(missing)}; run the job iopfl again with all sites"
        )
    return RoutingSpace(description["network"], experts)


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, in order of names."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
