# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The extra `report` of the package: what draws pages and pictures, which a hospital needs not have to take part."""

from importlib.util import find_spec

from flare_mri.errors import InputError

_PACKAGES = ("jinja2", "matplotlib", "sklearn")


def check_report_extra(wanted: str) -> None:
    """Raises InputError where a package that draws is not installed; `wanted` is what it is needed for."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{wanted}: expected the packages {', '.join(_PACKAGES[:-1])} and {_PACKAGES[-1]}, got no {missing[0]}; "
            "pip install 'flare-mri[report]'"
        )
