# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a training job at the server: rounds, patience, checks of updates; one place for every default."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from flare_mri.config.base import Settings


def _check_multiple(value: float) -> float:
    if value and not 1 <= value < math.inf:
        raise ValueError("expected 0 (off) or a multiple of the median from 1 on")
    return value


Multiple = Annotated[float, AfterValidator(_check_multiple)]


class AggregationSettings(Settings):
    """Weights of updates, and bounds above which they are left out or scaled down."""

    weighting: Literal["equal", "slices"] = "equal"
    """Weights of the sites in an average: equal, or by their numbers of training slices."""

    average: Literal["mean", "median", "trimmed_mean", "krum"] = "mean"
    """Of the updates: their mean, or one that withstands dishonest sites and counts all alike: coordinate-wise median
    or trimmed mean, or multi-Krum."""

    dishonest: Annotated[int, Field(ge=0)] = 1
    """Sites that trimmed_mean and krum are to withstand."""

    max_norm: Multiple = 100.0
    """Leave out an update whose norm is more than so many times the round's median; 0: none."""

    clip_norm: Multiple = 3.0
    """Scale down an update whose norm is more than so many times the round's median to that; 0: none."""

    max_weight: Multiple = 10.0
    """Count no more slices of a site than so many times the round's median; 0: all."""

    update_dtype: Literal["float32", "bfloat16", "int8"] = "float32"
    """How updates travel: whole, or as rounded differences; what rounding takes away goes with the next round's."""

    @model_validator(mode="after")
    def _counts_alike(self) -> "AggregationSettings":
        if self.average != "mean" and self.weighting != "equal":
            raise ValueError(f"weighting: expected equal with average {self.average}, got slices; set it")
        return self


class ServerSettings(AggregationSettings):
    """A training job at the server."""

    num_rounds: Annotated[int, Field(ge=1)] = 30
    """Rounds of training."""

    initial_weights: str | None = None
    """File on the server to begin the shared part with: a bundle's model.pt, a personal.safetensors; none: anew."""

    min_sites: Annotated[int | None, Field(ge=1)] = None
    """Good updates a round needs; none: those of all sites."""

    round_timeout: Annotated[int, Field(ge=0)] = 0
    """Seconds a round may last; 0: for ever."""

    wait_time_after_min_received: Annotated[int, Field(ge=0)] = 600
    """Seconds to wait for further sites once min_sites have answered."""

    sites_per_round: Annotated[int, Field(ge=0)] = 0
    """Sites asked to train in a round, drawn anew each round; it then needs no more good updates. 0: all."""

    shut_out_after: Annotated[int, Field(ge=0)] = 0
    """Rounds in which an update was left out, after which its site is asked no more; 0: never."""

    cross_site: bool = False
    """After the last round, score the personal models of sites that consent at each of them; of IOP-FL alone."""

    tracking: Literal["tensorboard", "mlflow"] = "tensorboard"
    """Curves on the server: event files, or MLflow at the server's $MLFLOW_TRACKING_URI, else mlflow.db of the run."""

    privacy: Literal["svt", "percentile"] | None = None
    """FLARE's filter on what a round changes."""

    privacy_arguments: dict[str, Any] | None = None
    """Of that filter, a JSON object."""

    @model_validator(mode="after")
    def _krum_leaves_out_the_honest(self) -> "ServerSettings":
        if self.shut_out_after and self.average == "krum":
            raise ValueError("shut_out_after: expected 0 with average krum, which leaves honest sites out; omit it")
        return self
