# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A slice between its neighbours: the channels of a 2.5D network."""

from typing import Any

import numpy as np

CHANNELS = 3  # a slice between its two neighbours


def stack_neighbours(slices: Any, index: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A slice between its two neighbours *among the slices kept* of its volume.

    The first and the last stand with themselves for the neighbour that is not there, so that the centre channel is
    always the labelled slice.

    Args:
        slices: gives slices [C, H, W] by index and by range, the image first.
        index: of the slice.
        count: number of slices kept.

    Returns:
        The images float32 [3, H, W], and all channels [C, H, W] of the slice itself.
    """
    first = max(index - 1, 0)
    near = slices[first : index + 2]  # one access to the cache
    before, centre, after = (near[at - first] for at in (first, index, min(index + 1, count - 1)))
    return np.stack([before[0], centre[0], after[0]]), centre
