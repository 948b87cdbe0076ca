# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a startup kit says of itself, read without importing FLARE."""

from pathlib import Path

from flare_mri.errors import InputError
from flare_mri.files import read_json

_MOST_BYTES = 2**20


def site_name(kit: Path) -> str:
    """The name under which a hospital's kit connects.

    Raises:
        InputError: the folder is no startup kit of a hospital.
    """
    path = kit / "startup" / "fed_client.json"
    fix = "give the folder of a site's startup kit, which holds startup/ and local/"
    described = read_json(path, _MOST_BYTES, fix)
    try:
        return str(described["client"]["fqsn"])
    except (KeyError, TypeError) as e:
        raise InputError(f"{path}: expected a site's name as client.fqsn, got none; {fix}") from e
