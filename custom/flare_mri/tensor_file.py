# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Models in safetensors files: a description as JSON in the metadata, a checksum over all, finite values."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.tensor_description import KEY

MOST_BYTES = 4 * 2**30
"""Of one file: a hundred U-Nets of the paper's size, and half of the memory that README.md asks for."""

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_TYPES = (*_FLOATS, torch.int64, torch.int32, torch.uint8, torch.bool)


def pack_tensors(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> tuple[bytes, str]:
    """A file's content, and the checksum in it.

    Args:
        tensors: by name; they may share memory, as those of a layer that stands twice in a network do.
        description: plain values; ``format`` is what :func:`read_tensor_file` asks for.
    """
    own = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    digest = checksum(own, description)
    return safetensors.torch.save(own, {KEY: json.dumps({**description, "checksum": digest})}), digest


def checksum(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> str:
    """SHA-256 over the description and over names, types, shapes and bytes of all tensors, in order of names."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_tensor_file(
    what: str, path: Path, file_format: str, origin: str
) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Reads a file that this package wrote; its values are not checked yet, see :func:`check_tensor`.

    Args:
        what: how messages call it.
        path: the file.
        file_format: what its description must say under ``format``.
        origin: which file to give instead, for messages: "the file that ... left".

    Returns:
        The description, the tensors by name, and the checksum.

    Raises:
        InputError: no such file, larger than :data:`MOST_BYTES`, no safetensors, of another format, or a checksum that
            does not match.
    """
    if not os.path.isfile(path):
        raise InputError(f"{what} {path}: {'a folder, no file' if path.is_dir() else 'no such file'}; give {origin}")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(
            f"{what} {path}: expected at most {MOST_BYTES} bytes, got {path.stat().st_size}; use smaller networks"
        )
    try:
        with safetensors.safe_open(path, "pt") as file:  # its header is checked against the file's size
            description = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    # safetensors raises its own error, and KeyError, TypeError or RuntimeError for types that torch does not know.
    except Exception as e:
        reason = " ".join(str(e).split())[:200] or type(e).__name__
        raise InputError(f"{what} {path}: cannot be read ({reason}); copy it anew") from e
    if not isinstance(description, dict) or description.get("format") != file_format:
        raise InputError(f"{what} {path}: expected format {file_format!r}, got another; give {origin}")
    found = description.pop("checksum", None)
    if found != checksum(tensors, description):
        raise InputError(f"{what} {path}: checksum does not match, the file was changed or damaged; copy it anew")
    return description, tensors, str(found)


def check_tensor(key: str, tensor: Tensor, fix: str) -> None:
    """Refuses types that no network's state has, and values that are not finite.

    Raises:
        InputError: names the tensor and says `fix`.
    """
    if tensor.dtype not in _TYPES or (tensor.dtype in _FLOATS and not torch.isfinite(tensor).all()):
        raise InputError(f"tensor {key!r}: expected finite numbers, got others; {fix}")
