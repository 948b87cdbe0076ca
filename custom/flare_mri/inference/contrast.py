# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Whether images are of the contrast that a model knows, or bright and dark are the other way round.

Whoever takes a model with another ``data.inverted`` than it was made with, or gives it scans of another sequence, gets
labels that agree with themselves and mean nothing.
"""

from torch import nn

from flare_mri.datasets.pieces import Pieces
from flare_mri.routing.contrast import CLEARLY, ENOUGH, ENOUGH_OF_A_VOLUME, compare_with_negatives

_ROUND = "bright and dark are the other way round than"


def warn_of_contrast(network: nn.Module, pieces: Pieces) -> str:
    """A line where the negative of a volume lies clearly nearer to what a personal model knows; else empty.

    Args:
        network: plain, of the model; without BatchNorm statistics nothing is told.
        pieces: of the volume.
    """
    if (ratio := _clearly(network, pieces, ENOUGH_OF_A_VOLUME)) is None:
        return ""
    return (
        f"{_ROUND} the model knows them (the negative lies {ratio:.2f} times as far from them): is data.inverted as it "
        "was for the job, is it another sequence?"
    )


def tell_contrast(network: nn.Module, pieces: Pieces) -> str:
    """A line for a site whose negatives are what a federation's global model rather knows; else empty.

    Args:
        network: plain, with the global weights and statistics.
        pieces: of the site's volumes.
    """
    if (ratio := _clearly(network, pieces, ENOUGH)) is None:
        return ""
    return (
        f"{_ROUND} at most hospitals (the negatives lie {ratio:.2f} times as far from the global model): set "
        "data.inverted the other way in site.yaml for the next job"
    )


def _clearly(network: nn.Module, pieces: Pieces, most: int) -> float | None:
    """The ratio where it is clear."""
    ratio = compare_with_negatives(network, pieces, most)
    return ratio if ratio is not None and ratio < CLEARLY else None
