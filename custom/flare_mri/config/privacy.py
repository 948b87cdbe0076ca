# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of differential privacy: what a job does, and what a site lets all jobs together spend."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from flare_mri.config.base import Settings

PRIVATE = ("dp_noise_multiplier", "dp_epsilon")
"""Settings of a job of which one makes its training private."""
Unit = Literal["patient", "slice"]
"""Whose data, added or left out, change what is learned by no more than ε and δ say."""


def _number(value: Any) -> Any:
    """YAML takes 1e-5, which has no dot, for text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Delta = Annotated[float, BeforeValidator(_number), Field(gt=0, le=0.1)]
Epsilon = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1e6)]


class PrivateTraining(Settings):
    """DP-SGD at every site of a job (Abadi et al., CCS 2016, arXiv 1607.00133)."""

    dp_noise_multiplier: Annotated[float | None, Field(gt=0, le=1e4)] = None
    """Train with differential privacy: σ, the noise of a step in units of dp_max_grad_norm; none: see dp_epsilon."""

    dp_epsilon: Epsilon | None = None
    """Train with differential privacy: most ε that the job spends at a site, from which σ follows; none: no privacy."""

    dp_delta: Delta = 1e-5
    """δ at which the job's ε is told, and kept to; below one by the number of a site's patients."""

    dp_max_grad_norm: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Norm to which the gradient of each patient, or slice, is clipped in a step."""

    dp_unit: Unit = "patient"
    """Whom ε protects: a patient with all slices, or a single slice."""

    @property
    def private(self) -> bool:
        """Whether the job trains with differential privacy."""
        return any(getattr(self, name) is not None for name in PRIVATE)

    @model_validator(mode="after")
    def _check_noise(self) -> "PrivateTraining":
        if self.dp_noise_multiplier is not None and self.dp_epsilon is not None:
            raise ValueError(
                f"dp_epsilon: expected none with dp_noise_multiplier, which says the noise already, got "
                f"{self.dp_epsilon:g}; leave out one of them"
            )
        return self


class Budget(Settings):
    """What all jobs together may spend of the privacy of a site's patients, whatever a job says."""

    epsilon: Epsilon
    """most ε of all jobs together; a job without differential privacy is refused"""
    delta: Delta = 1e-5
    """δ at which it holds; below one by the number of the site's patients"""
    unit: Unit = "patient"
    """whom it protects: a patient with all slices, or a single slice; jobs with another dp_unit are refused"""

    def refusal(self, training: PrivateTraining) -> str:
        """One phrase where a job does not protect whom this budget is for; else empty."""
        unit = training.dp_unit if training.private else "none"
        return "" if unit == self.unit else f"privacy {unit}, admitted: {self.unit}"
