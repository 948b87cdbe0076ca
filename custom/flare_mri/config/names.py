# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Names of sites, jobs and experts, which become parts of paths."""

import re
from typing import Any

from flare_mri.errors import InputError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
"""What can be part of a path and not lead out of it."""


def check_name(kind: str, name: Any) -> None:
    """See that a name can be part of a path and not lead out of it.

    Raises:
        InputError: it holds other than letters, digits, ".", "_" and "-", or is longer than file systems take.
    """
    if not isinstance(name, str) or not NAME.match(name) or len(name) > 128:
        raise InputError(
            f"{kind} name {name!r:.160}: expected letters, digits, '.', '_' and '-' only, at most 128; rename it"
        )
