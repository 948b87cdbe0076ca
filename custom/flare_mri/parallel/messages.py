# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Messages between the processes of a site: tensors and plain values through pipes, without a network."""

import io
import struct
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_LENGTH = struct.Struct("<Q")


def write_message(file: io.FileIO, values: Mapping[str, Any]) -> None:
    """Write one message.

    Args:
        file: one end of a pipe, unbuffered.
        values: tensors and plain values in lists and dictionaries.
    """
    buffer = io.BytesIO()
    torch.save(dict(values), buffer)
    for part in (_LENGTH.pack(buffer.tell()), buffer.getvalue()):
        left = memoryview(part)
        while left:
            left = left[file.write(left) :]


def read_message(file: io.FileIO) -> dict[str, Any] | None:
    """Read one message, its tensors on the CPU; None where the other side is gone, also amidst one.

    Args:
        file: the other end.

    Raises:
        pickle.UnpicklingError: it holds other than tensors and plain values.
    """
    length = _read(file, _LENGTH.size)
    content = None if length is None else _read(file, *_LENGTH.unpack(length))
    if content is None:
        return None
    found: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return found


def _read(file: io.FileIO, size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        part = file.read(min(size - len(content), 2**20))
        if not part:
            return None
        content += part
    return bytes(content)


def plain(values: Any) -> Any:
    """A copy of what a server sent with tensors, numbers and text only; whatever else is in it becomes None.

    Args:
        values: tensors and plain values in lists and mappings, or anything else.
    """
    if isinstance(values, Mapping):
        return {str(key): plain(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [plain(value) for value in values]
    return values if type(values) in (Tensor, str, int, float, bool) else None
