# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a model's safetensors file says of itself, read in milliseconds: without PyTorch, and without the tensors."""

import json
from pathlib import Path
from typing import Any

import safetensors

KEY = "flare_mri"
"""Under which the description stands in the metadata."""


def stored_description(path: Path) -> dict[str, Any]:
    """The description in a file of this package, unchecked; empty where it cannot be read as one."""
    try:
        with safetensors.safe_open(path, "np") as file:
            description = json.loads((file.metadata() or {}).get(KEY, "null"))
    except (safetensors.SafetensorError, OSError, ValueError):
        return {}
    return description if isinstance(description, dict) else {}
