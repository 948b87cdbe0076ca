# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores as files hold them: of a model of a site, and of its single test volumes.

A metric's value is a number, or null where it is not defined (HD95 of an empty outline).
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, create_model

from flare_mri.config.base import Settings
from flare_mri.metrics.metric_table import KNOWN, METRICS, metrics_in


class Entry(Settings):
    """An object of a file that runs leave; a later version may write more into it."""

    model_config = ConfigDict(extra="allow")
    fix: ClassVar[str] = "use the results.json of a finished flare-mri run"
    mapping: ClassVar[str] = "an object"


_METRICS = create_model(
    "Scores",
    __base__=Entry,
    **{metric.key: (float | None, Field(None, description=metric.meaning)) for metric in METRICS},  # type: ignore[call-overload]
)


def _check_scores(scores: dict[str, Any]) -> dict[str, Any]:
    if scores and not metrics_in(scores):
        raise ValueError(f"expected at least one of {', '.join(KNOWN)}")
    _METRICS.model_validate(scores)
    return scores


Scores = Annotated[dict[str, Any], AfterValidator(_check_scores), WithJsonSchema(_METRICS.model_json_schema())]


class TwoScores(Entry):
    """Scores of one model of a site."""

    validation: Scores | None = None
    """of the validation split"""
    test: Scores | None = None
    """of the test split"""


class BestScores(TwoScores):
    """Scores of the model that did best on the validation split."""

    round: int
    """a round number"""


class VolumeScores(Entry):
    """Scores of single test volumes: what a site keeps in its own store, and no results.json holds."""

    fix: ClassVar[str] = "give --stores the site store of a finished run"

    format_version: Literal[1]
    """the number 1"""
    rows: dict[str, dict[str, Scores]]
    """an object with one entry a row of the table; in it scores by pseudonym of a volume"""
