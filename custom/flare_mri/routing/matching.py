# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""A model for an outside site without training: experts mixed by how well their statistics match the site's.

BatchNorm's running statistics say what an expert's layers saw at its own site. Those of the same layers on the outside
site's images, with this site's statistics in the layers before them, say what they see there. Experts whose site is
like this one differ little. With the Gaussian Kullback-Leibler divergence :math:`D_e`, mean over channels and layers,

.. math:: w_e = D_e^{-3} / \sum_f D_f^{-3}, \qquad W = \sum_e w_e W_e

and the statistics of the site itself in every BatchNorm layer of the mix. It is one plain network, with routing weights
as IOP-FL's (arXiv 2204.08467) but the same in all layers and for all samples. The averaged statistics of a global model
are those of no site: it is not among the experts.

The site's images are compared as they came and as their negatives. Where bright and dark are the other way round than
at most of the experts' sites, the experts lie nearer to the negatives, and the mix takes the images so.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from flare_mri.errors import InputError
from flare_mri.routing.adaptation import SiteView, Slices, collapse, examine, too_few
from flare_mri.routing.contrast import CLEARLY, UNCLEAR, compare_negatives
from flare_mri.routing.network import check_experts
from flare_mri.routing.polarity import find_input_layers, take_negatives
from flare_mri.routing.statistics import (
    SMALLEST,
    batch_size_for,
    find_distance,
    find_divergences,
    load_state,
    statistics_of,
    with_site_statistics,
)

POWER = 3.0


@dataclass(frozen=True)
class MatchReport:
    """Record of a match; nothing in it was measured with labels, and no number belongs to a single slice.

    Attributes:
        slices: number of slices of the site, or of patches.
        divergence: of each expert; empty where the network has no running statistics.
        weights: of each expert in the mix.
        distance: of :func:`find_distance`; None where it is not known.
        inverted: whether the site's images are taken as their negatives.
        negatives: divergence of some negatives over that of the same images; None where it cannot be told.
        fallback: why the global model's predictions must be used; None where the mix may be.
        global_model: the plain global model on the site.
        matched: the mix on the site.
    """

    slices: int
    divergence: Mapping[str, float]
    weights: Mapping[str, float]
    distance: float | None
    inverted: bool
    negatives: float | None
    fallback: str | None
    global_model: SiteView
    matched: SiteView

    def is_unclear(self) -> bool:
        """Whether neither the images nor their negatives are clearly the nearer ones."""
        return self.negatives is not None and CLEARLY <= self.negatives < UNCLEAR

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def match(
    network: nn.Module,
    experts: Mapping[str, Mapping[str, Tensor]],
    global_model: nn.Module,
    slices: Slices,
    min_foreground: float = 0.1,
) -> tuple[nn.Module, MatchReport]:
    """The mix of the experts for a site's slices, with its statistics.

    Args:
        network: gives structure, dtype and device; itself left untouched.
        experts: state dicts of networks like it by name, without the global model's.
        global_model: the plain network with the global weights, to compare with and to fall back to.
        slices: as of :func:`flare_mri.routing.adaptation.adapt`.
        min_foreground: the mix is not used where it marks less than this share of what the global model marks.

    Returns:
        The network to use, in evaluation mode: the mix, or the global model where the report's ``fallback`` says why;
        and the report.

    Raises:
        InputError: no slices or no expert, or an expert that does not fit the network.
    """
    if len(slices) == 0 or not experts:
        what = "slices or patches" if experts else "personal models in the routing space"
        raise InputError(f"outside site: expected {what}, got none; check the data folder and the routing space")
    check_experts(network.state_dict(), experts)
    few = too_few(slices)
    layers = () if few else find_input_layers(network, slices[0].shape)
    ratio = compare_negatives(network, experts, layers, slices)
    if inverted := ratio is not None and ratio < CLEARLY:
        experts = {name: take_negatives(state, layers) for name, state in experts.items()}
        global_model = load_state(global_model, take_negatives(global_model.state_dict(), layers))
    divergence = find_divergences(network, experts, slices)
    weights = weigh(divergence) if divergence else dict.fromkeys(experts, 1 / len(experts))
    mixed = with_site_statistics(load_state(network, mix_states(experts, weights)), slices)
    at_home = {name: statistics_of(load_state(network, experts[name])) for name in divergence}
    batch_size = min(16, batch_size_for(slices))
    views = examine(global_model, slices, batch_size), examine(mixed, slices, batch_size)
    reason = few or collapse(*views, (), min_foreground, "the mix")
    distance = find_distance(divergence, at_home)
    report = MatchReport(len(slices), divergence, weights, distance, inverted, ratio, reason, *views)
    return (global_model if reason else mixed), report


def weigh(divergence: Mapping[str, float], power: float = POWER) -> dict[str, float]:
    """Weights of the experts, which add up to 1."""
    values = {name: closeness(value, power) for name, value in divergence.items()}
    return {name: value / sum(values.values()) for name, value in values.items()}


def closeness(divergence: float, power: float = POWER) -> float:
    """An expert's weight before all weights are scaled to add up to 1."""
    return max(divergence, SMALLEST) ** -power


def mix_states(experts: Mapping[str, Mapping[str, Tensor]], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """The weighted mean of state dicts; integers (counts of batches) are the first one's."""
    first = next(iter(experts.values()))
    return {
        key: sum(weights[name] * state[key].double() for name, state in experts.items()).to(value.dtype)  # type: ignore[union-attr]
        if value.is_floating_point()
        else value
        for key, value in first.items()
    }
