# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of single test volumes, which a site keeps on its own disk: what a paired test compares methods by."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from flare_mri.config.scores import VolumeScores
from flare_mri.files import read_json

SCORES_FILE = "volume_scores.json"
_MOST_BYTES = 2**26  # some hundred thousand volumes

Rows = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Row of results.json -> pseudonym of a volume -> metric -> score."""


def pseudonym(site: str, name: str) -> str:
    """What stands for a volume's name, the same in every run: 16 hexadecimal digits of a SHA-256.

    Who knows the names can find out which it is: it keeps names out of a file, it does not make the file public.
    """
    return hashlib.sha256(f"{site}/{name}".encode()).hexdigest()[:16]


def by_pseudonym(
    site: str, names: Sequence[str], scores: Mapping[int, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Scores by number of a volume -> by its pseudonym."""
    return {pseudonym(site, names[number]): dict(values) for number, values in scores.items()}


def scores_text(rows: Rows) -> str:
    """The text of a file of scores."""
    return json.dumps({"format_version": 1, "rows": rows}, indent=1)


def load_scores(path: Path) -> Rows:
    """Read and check a file of scores.

    Raises:
        InputError: it cannot be read, or is none.
    """
    content = read_json(path, _MOST_BYTES, "give --stores the site store of a finished run")
    return VolumeScores.read(content, str(path)).rows
