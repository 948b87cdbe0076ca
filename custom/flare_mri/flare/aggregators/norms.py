# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes of updates, and what they are compared with."""

import statistics
from collections.abc import Collection, Mapping

from torch import Tensor

from flare_mri.networks.state_check import norm_of

_FIRST_FLOOR, _LATER_FLOOR = 1e-2, 1e-3  # of the global shared part's own norm
_DECAY = 0.5  # of the scale, in a round


def norm(params: Mapping[str, Tensor], reference: Mapping[str, Tensor] | None = None) -> float:
    """Euclidean norm of the floating-point entries, or of their difference from `reference`, in double precision."""
    if reference is None:
        return norm_of(params.values())
    return norm_of(v.double() - reference[k].double() for k, v in params.items() if v.is_floating_point())


class NormScale:
    r"""The size that a round's updates are compared with.

    With the lower median :math:`m_t` of the sizes of a round and the norm :math:`\|\theta_G\|` of what is shared:

    .. math::
        s_0 = \max(m_0, 10^{-2} \|\theta_G\|), \qquad
        s_t = \max(m_t, s_{t-1} / 2, 10^{-3} \|\theta_G\|)

    The median alone is in the hands of sites that send nothing: half of them make it 0, and then every honest update
    is infinitely too large, or nothing is checked. The floors keep a scale that such sites cannot take away. A first
    round moves a network by 6 to 18 % of its norm (measured: U-Nets of 16 channels on phantoms, both jobs), so a floor
    of 1 % is below what is honest and still a limit. Later the rounds before say more than the network's norm; as
    training converges the scale may follow, no faster than by half a round, down to 0.1 %.

    For leaving out, as opposed to scaling down, the first floor holds in every round (:attr:`least`): sites that send
    nothing for many rounds pull the scale down to 0.1 %, and updates that stay honest must not end as too large.

    Attributes:
        value: the scale of the last round; 0 before the first.
        least: the least that an update may be compared with before it is left out.
    """

    def __init__(self) -> None:
        self.value = 0.0
        self.least = 0.0

    def follow(self, norms: Collection[float], reference: Mapping[str, Tensor]) -> None:
        """Go on to a round whose updates of `reference` have these norms."""
        whole = norm(reference)
        self.least = _FIRST_FLOOR * whole
        floor = max(_DECAY * self.value, _LATER_FLOOR * whole) if self.value else self.least
        self.value = max(statistics.median_low(norms) if norms else 0.0, floor)
        moved = [size for size in norms if size]
        if moved and not self.value:  # what is shared is all 0, as new biases are, and so is the median
            self.value = statistics.median_low(moved)
        self.least = max(self.least, self.value)
