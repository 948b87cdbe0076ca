# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The extra `raw` of the package: SigPy, which a hospital needs not have to take part."""

import importlib
from typing import Any

from flare_mri.errors import InputError


def import_sigpy(wanted: str) -> Any:
    """The module `sigpy.mri.app`, imported where it is first needed, since that takes seconds.

    Raises:
        InputError: it is not installed; `wanted` is what it is needed for.
    """
    try:
        return importlib.import_module("sigpy.mri.app")
    except ModuleNotFoundError as error:
        raise InputError(
            f"{wanted}: expected the package sigpy, got no {error.name}; pip install 'flare-mri[raw]'"
        ) from error
