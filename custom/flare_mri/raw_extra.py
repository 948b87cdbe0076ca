# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The extra `raw` of the package: SigPy and ISMRMRD's package, which a hospital needs not have to take part."""

from typing import Any

from flare_mri.extra import MissingExtraError, import_extra

__all__ = ["MissingExtraError", "import_raw_extra"]


def import_raw_extra(module: str, wanted: object) -> Any:
    """A module of the extra `raw`, see :func:`flare_mri.extra.import_extra`."""
    return import_extra("raw", module, wanted)
