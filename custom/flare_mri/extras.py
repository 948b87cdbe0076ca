# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Packages of the extras, which a site needs not have to take part; imported where they are first used."""

import importlib
from typing import Any

from flare_mri.errors import InputError


class MissingExtraError(InputError):
    """A package of an extra is needed and not installed."""


def import_extra(extra: str, module: str, wanted: object) -> Any:
    """A module of an extra, imported where it is first needed, since that takes seconds.

    Args:
        extra: of pyproject.toml, such as `raw`.
        module: full name, such as `sigpy.mri.app`.
        wanted: the file, option or method that needs it, for the message.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{wanted}: expected the package {module.partition('.')[0]}, got no {error.name}; pip install "
            f"'flare-mri[{extra}]'"
        ) from error
