# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of a site's images in a network's BatchNorm layers, and how far they lie from those it came with."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from flare_mri.routing.adaptation import Slices, are_patches

BATCH, BATCH_PATCHES = 64, 4  # a patch has the pixels of a stack of slices
SMALLEST = 1e-8
"""Divergence that is taken for none, as that of a model of the very same images."""
Statistics = list[tuple[Tensor, Tensor]]
"""Mean and variance of each BatchNorm layer of a network."""


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
    for part in order.tensor_split(-(-len(slices) // (batch_size or batch_size_for(slices)))):
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
    return _diverge(statistics_of(site), statistics_of(expert))


def find_divergences(
    network: nn.Module, experts: Mapping[str, Mapping[str, Tensor]], slices: Slices
) -> dict[str, float]:
    """Divergence of the site from each expert; empty where the network has no running statistics."""
    if not tracked_norms(network):
        return {}
    loaded = ((name, load_state(network, state)) for name, state in experts.items())
    return {name: find_divergence(with_site_statistics(expert, slices), expert) for name, expert in loaded}


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
    return max(min(divergence.values()), 0.0) / unit if unit > SMALLEST else None


def load_state(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A copy with this state."""
    changed = copy.deepcopy(network)
    changed.load_state_dict(state)
    return changed


def batch_size_for(slices: Slices) -> int:
    """The most slices or patches in a batch."""
    return BATCH_PATCHES if are_patches(slices) else BATCH


def statistics_of(network: nn.Module) -> Statistics:
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
