# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""results.json: the record that every run leaves. Keys that do not stand here are kept and ignored.

Everything about a site may be missing, as where it went away; a method has test scores of one site at least. Scores are
as in :mod:`flare_mri.config.scores`.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from flare_mri.config.scores import BestScores, Entry, Scores, TwoScores
from flare_mri.metrics.metric_table import KNOWN, metrics_in

FORMAT_VERSION = 1
PERSONAL, BEST = " (personal)", " (best)"
"""Ends of rows: of personal models, and of those that were best on validation."""
BASELINES = {"zero_filled": "Zero-filled", "cg_sense": "CG-SENSE", "l1_espirit": "l1-ESPIRiT"}
"""Reconstructions that learn nothing: keys of a site, and their rows of tables."""
GLOBAL_ROW = "global model"
"""Name of the global model among models by site."""
BASELINE = BASELINES["zero_filled"]
"""Name of the row of the unprocessed input, which every reconstruction is compared with."""


class Entropy(Entry):
    """Mean entropy of an outside site's outlines."""

    before: float
    """a number; before routing was adapted"""
    after: float
    """a number; after it"""


class Routing(Entry):
    """Weights of the experts in every routed layer of an outside site."""

    experts: list[Any] = Field(min_length=1)
    """a list of names"""
    layers: list[Any] = Field(min_length=1)
    """a list of names"""
    weights: list[list[float]]
    """a list of rows; a row a layer, a number an expert"""

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if len(self.weights) != len(self.layers):
            raise ValueError(
                f"weights: expected {len(self.layers)} rows, one a layer, got {len(self.weights)}; run again"
            )
        for index, row in enumerate(self.weights):
            if len(row) != len(self.experts):
                told = f"weights[{index}]: expected {len(self.experts)} numbers, one an expert"
                raise ValueError(f"{told}, got {len(row)}; run the job again")
        return self


class CrossSite(Entry):
    """Scores of personal models on the test data of other sites, of sites that consent."""

    models: list[str] = Field(min_length=1)
    """a list of sites whose models these are, and the global model"""
    sites: list[str] = Field(min_length=1)
    """a list of sites on whose data they were scored"""
    scores: dict[str, list[list[float | None]]]
    """an object of metrics; each a list of rows, a row a model, a number a site"""

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        for metric, rows in self.scores.items():
            if len(rows) != len(self.models) or any(len(row) != len(self.sites) for row in rows):
                shape = f"{len(self.models)} rows of {len(self.sites)} numbers"
                raise ValueError(f"scores.{metric}: expected {shape}, got others; run the job again")
        return self


class PrivacySpent(Entry):
    """What a site has spent of its patients' privacy in a run."""

    epsilon: float
    """a number; ε of all its steps"""
    delta: float
    """a number; δ at which it holds"""


class SiteResults(TwoScores):
    """A site at the end of a run."""

    zero_filled: Scores | None = None
    """scores of the unprocessed input"""
    cg_sense: Scores | None = None
    """scores of CG-SENSE"""
    l1_espirit: Scores | None = None
    """scores of l1-ESPIRiT"""
    best: BestScores | None = None
    """the model that did best"""
    personal: TwoScores | None = None
    """the personal model"""
    data: dict[str, Any] | None = None
    """numbers of slices"""
    phantom: bool | None = None
    """true where the site's data are of the phantom, of nobody"""
    privacy: PrivacySpent | None = None
    """an object with epsilon and delta; none: training without differential privacy"""
    note: str | None = None
    """a sentence for the report"""
    entropy: Entropy | None = None
    """an object with before and after"""
    routing: Routing | None = None
    """an object with experts, layers and weights"""


class SiteRound(TwoScores):
    """A site in a round."""

    personal_validation: Scores | None = None
    """scores of the personal model"""
    personal_test: Scores | None = None
    """scores of the personal model"""
    train_loss: float | None = None
    """mean loss of the round"""
    epsilon: float | None = None
    """ε that the run has spent at the site so far"""
    privacy_spent: bool | None = None
    """true where the budget was spent, and the site did not train"""
    seconds: float | None = None
    """seconds of training"""
    bytes_sent: float | None = None
    """bytes that the site sent"""
    bytes_received: float | None = None
    """bytes that it received"""
    slices: float | None = None
    """slices it trained on"""


class RoundResults(Entry):
    """A round of training."""

    round: int
    """a round number"""
    seconds: float | None = None
    """seconds that the round took"""
    sites: dict[str, SiteRound]
    """an object with one entry a site"""
    drawn: list[str] | None = None
    """sites that were asked to train; none: all"""
    left_out: list[str] | None = None
    """sites whose update did not count"""
    scaled_down: list[str] | None = None
    """sites whose update was scaled down"""


class MethodResults(Entry):
    """A run of one method."""

    job: str
    """the job's name"""
    created: str
    """a date and time"""
    seed: int
    """a whole number"""
    settings: dict[str, Any]
    """an object; the job's settings"""
    seconds: float
    """a number of seconds"""
    versions: dict[str, Any] | None = None
    """versions that differ from those of the file"""
    sites: dict[str, SiteResults]
    """an object with one entry a site"""
    rounds: list[RoundResults]
    """a list of rounds"""
    cross_site: CrossSite | None = None
    """an object with models, sites and scores"""

    @model_validator(mode="after")
    def _check_sites(self) -> Self:
        if not self.sites:
            raise ValueError("sites: expected at least one site, got none; run the job again")
        if not any(metrics_in(site.test or {}) for site in self.sites.values()):
            raise ValueError(
                f"sites: expected test scores ({', '.join(KNOWN)}) of one site at least, got none; wait for the run to "
                "finish, or run the job again"
            )
        return self


class Results(Entry):
    """A results.json."""

    format_version: Literal[1]
    """the number 1"""
    versions: dict[str, Any]
    """an object of names and versions"""
    methods: dict[str, MethodResults]
    """an object with one entry a method"""

    @model_validator(mode="before")
    @classmethod
    def _check_version(cls, values: Any) -> Any:
        version = values.get("format_version") if isinstance(values, dict) else None
        if type(version) is int and version != FORMAT_VERSION:
            raise ValueError(
                f"format_version: expected {FORMAT_VERSION}, got {version}; make the report with the flare-mri version "
                "that wrote the file"
            )
        return values

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if not self.methods:
            raise ValueError("methods: expected at least one method, got none; run a job first")
        for name in self.methods:
            if name in BASELINES.values() or name.endswith((PERSONAL, BEST)):
                raise ValueError(
                    f"methods: expected names that the report does not give itself, got {name!r}; rename the method"
                )
        return self


def validate_results(results: Any, source: str = "results") -> dict[str, Any]:
    """Checks a results dictionary against the format above.

    Args:
        results: read from, or to be written to, a results.json.
        source: name for messages, e.g. the file's path.

    Returns:
        ``results`` itself.

    Raises:
        InputError: the first key that is missing or of another kind, with its path.
    """
    Results.read(results, source)
    return results
