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

import copy
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Subset

from flare_mri.errors import InputError
from flare_mri.routing.adaptation import SiteView, Slices, are_patches, collapse, examine, too_few
from flare_mri.routing.network import check_experts
from flare_mri.routing.polarity import find_input_layers, take_negatives

POWER = 3.0
BATCH, BATCH_PATCHES = 64, 4  # a patch has the pixels of a stack of slices
CLEARLY = 0.75
"""The site's negatives are taken where their divergence is below this times that of the images as they came
(docs/explanation/figures.md: 0.43 times at most at inverted sites, 1.35 times at least at others)."""
UNCLEAR = 1.2
"""From :data:`CLEARLY` to this neither way is clearly the nearer one, as of scans of both contrasts together."""
ENOUGH = 64
"""Slices, at equal steps, to tell the contrast by."""
_SMALLEST = 1e-8  # divergence of an expert of the very same images
Statistics = list[tuple[Tensor, Tensor]]
"""Mean and variance of each BatchNorm layer of a network."""


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
    negatives = {name: take_negatives(state, layers) for name, state in experts.items()}
    ratio = _compare_negatives(network, experts, negatives, slices) if layers else None
    if inverted := ratio is not None and ratio < CLEARLY:
        experts, global_model = negatives, _load(global_model, take_negatives(global_model.state_dict(), layers))
    divergence = _compare(network, experts, slices)
    weights = weigh(divergence) if divergence else dict.fromkeys(experts, 1 / len(experts))
    mixed = with_site_statistics(_load(network, mix_states(experts, weights)), slices)
    at_home = {name: _statistics(_load(network, experts[name])) for name in divergence}
    batch_size = min(16, _batch_size(slices))
    views = examine(global_model, slices, batch_size), examine(mixed, slices, batch_size)
    reason = few or collapse(*views, (), min_foreground, "the mix")
    distance = find_distance(divergence, at_home)
    report = MatchReport(len(slices), divergence, weights, distance, inverted, ratio, reason, *views)
    return (global_model if reason else mixed), report


def _compare_negatives(
    network: nn.Module,
    experts: Mapping[str, Mapping[str, Tensor]],
    negatives: Mapping[str, Mapping[str, Tensor]],
    slices: Slices,
) -> float | None:
    """How much farther the experts lie from the site's negatives: median of ratios; None without statistics.

    Most experts decide, not the nearest: negatives of a site like most are near to the one of inverted contrast.
    """
    some = Subset(slices, range(0, len(slices), max(1, len(slices) // ENOUGH)))  # type: ignore[arg-type, var-annotated]
    one, other = (_compare(network, states, some) for states in (negatives, experts))  # type: ignore[arg-type]
    ratios = [max(value, _SMALLEST) / max(other[name], _SMALLEST) for name, value in one.items()]
    return statistics.median(ratios) if ratios else None


def _compare(network: nn.Module, experts: Mapping[str, Mapping[str, Tensor]], slices: Slices) -> dict[str, float]:
    """Divergence of the site from each expert; empty where the network has no running statistics."""
    if not tracked_norms(network):
        return {}
    loaded = ((name, _load(network, state)) for name, state in experts.items())
    return {name: find_divergence(with_site_statistics(expert, slices), expert) for name, expert in loaded}


def _load(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A copy with this state."""
    changed = copy.deepcopy(network)
    changed.load_state_dict(state)
    return changed


def tracked_norms(network: nn.Module) -> dict[str, _BatchNorm]:
    """The BatchNorm layers that have running statistics, by name."""
    modules = network.named_modules()
    return {name: m for name, m in modules if isinstance(m, _BatchNorm) and m.running_mean is not None}


@torch.no_grad()
def with_site_statistics(network: nn.Module, slices: Slices, batch_size: int | None = None, seed: int = 0) -> nn.Module:
    """A copy whose BatchNorm layers have the statistics of all slices, each layer with those of the layers before it.

    Slices come shuffled in batches of nearly equal size, over which mean and variance are averaged.

    Args:
        network: plain, left untouched.
        slices: as of :func:`flare_mri.routing.adaptation.adapt`.
        batch_size: the most in a batch; by default 64 slices or 4 patches.
        seed: of the order.
    """
    changed = copy.deepcopy(network).eval()
    for norm in tracked_norms(changed).values():
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over batches
        norm.train()
    device = next(changed.parameters()).device
    order = torch.randperm(len(slices), generator=torch.Generator().manual_seed(seed))
    for part in order.tensor_split(-(-len(slices) // (batch_size or _batch_size(slices)))):
        changed(torch.stack([slices[index] for index in part.tolist()]).to(device))
    for norm, original in zip(tracked_norms(changed).values(), tracked_norms(network).values(), strict=True):
        norm.momentum = original.momentum
    return changed.eval()


def find_divergence(site: nn.Module, expert: nn.Module) -> float:
    r"""Kullback-Leibler divergence of the site's statistics from the expert's, mean over channels, then over layers.

    .. math::
        \tfrac12 \left(\log \frac{v_e}{v_s} + \frac{v_s + (m_s - m_e)^2}{v_e} - 1 \right)

    Args:
        site: of :func:`with_site_statistics`, of the expert.
        expert: with the statistics that it came with.
    """
    return _diverge(_statistics(site), _statistics(expert))


def find_distance(divergence: Mapping[str, float], at_home: Mapping[str, Statistics]) -> float | None:
    """How far a site lies from the federation, in units of how far the federation's own sites lie from one another.

    The divergence from the nearest expert, over the largest that one expert's own statistics have from its nearest
    other's. Sites left out of a federation lay at 0.2 to 1.0 where a mix of the others worked, and at 4 and more where
    it failed (docs/explanation/quality.md).

    Args:
        divergence: of the site from each expert.
        at_home: running statistics that each expert came with.

    Returns:
        None where fewer than two experts have such statistics, or all have the same.
    """
    nearest = []
    for one, own in at_home.items():
        others = [_diverge(own, other) for name, other in at_home.items() if name != one]
        nearest += [min(others)] if others else []
    unit = max(nearest, default=0.0)
    return max(min(divergence.values()), 0.0) / unit if unit > _SMALLEST else None


def weigh(divergence: Mapping[str, float], power: float = POWER) -> dict[str, float]:
    """Weights of the experts, which add up to 1."""
    values = {name: closeness(value, power) for name, value in divergence.items()}
    return {name: value / sum(values.values()) for name, value in values.items()}


def closeness(divergence: float, power: float = POWER) -> float:
    """An expert's weight before all weights are scaled to add up to 1."""
    return max(divergence, _SMALLEST) ** -power


def mix_states(experts: Mapping[str, Mapping[str, Tensor]], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """The weighted mean of state dicts; integers (counts of batches) are the first one's."""
    first = next(iter(experts.values()))
    return {
        key: sum(weights[name] * state[key].double() for name, state in experts.items()).to(value.dtype)  # type: ignore[union-attr]
        if value.is_floating_point()
        else value
        for key, value in first.items()
    }


def _batch_size(slices: Slices) -> int:
    return BATCH_PATCHES if are_patches(slices) else BATCH


def _statistics(network: nn.Module) -> Statistics:
    """Running mean and variance of each BatchNorm layer."""
    found = []
    for norm in tracked_norms(network).values():
        assert norm.running_mean is not None and norm.running_var is not None  # tracked_norms saw to it
        found.append((norm.running_mean.double(), norm.running_var.double() + norm.eps))
    return found


def _diverge(site: Statistics, expert: Statistics) -> float:
    found = []
    for (site_mean, site_variance), (mean, variance) in zip(site, expert, strict=True):
        terms = torch.log(variance / site_variance) + (site_variance + (site_mean - mean).square()) / variance - 1
        found.append(float(terms.mean()) / 2)
    return sum(found) / len(found)
