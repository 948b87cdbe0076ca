# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Who of a federation takes part: sites that were checked, and those drawn for a round."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Roster:
    """Sites of a job.

    FLARE's ``sample_clients`` does not serve: it draws from all that are connected, checked or not, and from a
    generator that nobody seeds.

    Attributes:
        per_round: how many are drawn for a round of training; 0: all.
        seed: of the draws.
        asked: sites that were asked to check their data and settings.
        ready: those of them that can take part.
        consenting: those of them that take and give personal models.
    """

    per_round: int = 0
    seed: int = 0
    asked: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)
    consenting: set[str] = field(default_factory=set)

    def draw(self, sites: Sequence[str], round_number: int) -> list[str]:
        """Sites to ask in a round: `per_round` of them without replacement, each as likely (McMahan et al., AISTATS
        2017, arXiv 1602.05629, algorithm 1); all where there are no more.

        The draw is a function of the seed, the round and who is there, so that a run that is resumed is the same run.
        """
        if not self.per_round or len(sites) <= self.per_round:
            return list(sites)
        return sorted(random.Random(f"{self.seed}/{round_number}").sample(sorted(sites), self.per_round))

    def least(self, min_sites: int) -> int:
        """Good updates that a round needs, of a job that needs `min_sites`: no more than it asks sites."""
        return min(min_sites, self.per_round or min_sites)
