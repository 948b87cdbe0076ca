# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The extra `raw` of the package: SigPy and ISMRMRD's package, which a hospital needs not have to take part."""

import importlib
from typing import Any

from flare_mri.errors import InputError


class MissingExtraError(InputError):
    """A package of the extra is needed and not installed."""


def import_raw_extra(module: str, wanted: object) -> Any:
    """A module of the extra, imported where it is first needed, since that takes seconds.

    Args:
        module: full name, such as `sigpy.mri.app`.
        wanted: the file or the method that needs it, for the message.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{wanted}: expected the package {module.partition('.')[0]}, got no {error.name}; pip install "
            "'flare-mri[raw]'"
        ) from error
