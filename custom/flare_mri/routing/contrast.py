# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Which way round bright and dark are in a site's images, told by models' BatchNorm statistics.

A model lies nearer to images of the contrast that it learned than to their negatives. So their divergences tell,
without a label, whether images are of the other contrast.
"""

import statistics
from collections.abc import Mapping

from torch import Tensor, nn
from torch.utils.data import Subset

from flare_mri.routing.adaptation import Slices
from flare_mri.routing.polarity import find_input_layers, take_negatives
from flare_mri.routing.statistics import SMALLEST, find_divergences, tracked_norms

CLEARLY = 0.75
"""Images are of the other contrast where the divergence of their negatives is below this times their own
(docs/explanation/figures.md: 0.43 times at most at inverted sites, 1.35 times at least at others)."""
UNCLEAR = 1.2
"""From :data:`CLEARLY` to this neither way is clearly the nearer one, as of scans of both contrasts together."""
ENOUGH = 64
"""Slices, at equal steps, to tell the contrast of a site by."""
ENOUGH_OF_A_VOLUME = 16
"""And of a single volume; or patches."""


def compare_negatives(
    network: nn.Module,
    experts: Mapping[str, Mapping[str, Tensor]],
    layers: tuple[str, ...],
    slices: Slices,
    most: int = ENOUGH,
) -> float | None:
    """How much farther the experts lie from the negatives of images than from the images: median of ratios.

    Most experts decide, not the nearest: negatives of a site like most are near to the one of inverted contrast.

    Args:
        network: gives structure, dtype and device; itself left untouched.
        experts: state dicts of networks like it by name.
        layers: of :func:`flare_mri.routing.polarity.find_input_layers`.
        slices: as of :func:`flare_mri.routing.adaptation.adapt`.
        most: slices at equal steps to compare, about.

    Returns:
        Above 0; below 1 where the negatives are the nearer ones. None without such layers, or running statistics.
    """
    if not layers:
        return None
    negatives = {name: take_negatives(state, layers) for name, state in experts.items()}
    some = Subset(slices, range(0, len(slices), max(1, len(slices) // most)))  # type: ignore[arg-type, var-annotated]
    one, other = (find_divergences(network, states, some) for states in (negatives, experts))  # type: ignore[arg-type]
    ratios = [max(value, SMALLEST) / max(other[name], SMALLEST) for name, value in one.items()]
    return statistics.median(ratios) if ratios else None


def compare_with_negatives(network: nn.Module, slices: Slices, most: int = ENOUGH) -> float | None:
    """The same of one model with its own statistics, of a whole site or of a single volume.

    Returns:
        None also of fewer than two slices, which have no variance in the deepest layers of small ones.
    """
    if len(slices) < 2 or not tracked_norms(network):
        return None
    layers = find_input_layers(network, slices[0].shape)
    return compare_negatives(network, {"model": network.state_dict()}, layers, slices, most)
