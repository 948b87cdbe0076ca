# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Aggregation of the shared part of the sites' networks."""

import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
from torch import Tensor

from flare_mri.config.server import AggregationSettings
from flare_mri.errors import InputError
from flare_mri.flare.aggregators.averages import average_updates, sites_by_krum
from flare_mri.flare.aggregators.norms import NormScale, norm
from flare_mri.flare.aggregators.received import read_update
from flare_mri.flare.aggregators.robust import count_dishonest
from flare_mri.flare.aggregators.round_updates import FURTHER, RoundUpdates, State

_DEFAULT = AggregationSettings()


@dataclass(frozen=True)
class Accepted:
    """What is kept in memory of an update that counts.

    Attributes:
        metrics: that came with it.
        norm: of its difference from the global shared part.
        further_norm: of a method's further tensors.
    """

    metrics: Mapping[str, float]
    norm: float
    further_norm: float


class PartialAggregator(ModelAggregator):
    """Average the sites' shared parts, after a look at each.

    Every update is checked before anything is added up: same keys, shapes and dtypes as the global shared part, all
    values finite, the present round, one update a site. A bad one is left out and named in :attr:`rejected`; the
    global model never sees it. A good one goes to a file as soon as it has come
    (:class:`~flare_mri.flare.aggregators.round_updates.RoundUpdates`), and the average is taken from there piece by
    piece: the server holds one update at a time, however many sites there are. A running sum would need no file, but
    what an update is scaled down to is known only when the round's last has come, as is a median. The sum runs in order
    of site names and in double precision, so the result does not depend on the order of arrival, to the bit.

    Floating-point entries are averaged; of integer buffers (BatchNorm's ``num_batches_tracked``) the largest is taken.

    The size of an update is the Euclidean norm of its difference from the global shared part. One a few times larger
    than the others' is scaled down (norm clipping, Sun et al., arXiv 1911.07963), so that no site moves the mean by
    more than `clip_norm` sizes over the number of sites; one far larger is a mistake or an attack and is left out.
    Sizes are compared with the round's *lower* median, which stays with the honest sites up to and including half of
    them, in a federation of two as well, and which has a floor against sites that send nothing
    (:class:`~flare_mri.flare.aggregators.norms.NormScale` says which and why).

    Weights by slices are the sites' own claims: no claim counts more than `max_weight` times the lower median of the
    round's claims, so that no site takes the average for itself.

    Further tensors that a method shares (:meth:`flare_mri.methods.ServerHooks.extra`) come as differences and are
    checked and averaged in the same way; their sizes are compared apart from those of the weights.

    Args:
        weighting: ``equal`` (FedMRI) or ``slices`` (IOP-FL: by the sites' numbers of training slices).
        average: ``mean``, or one of :mod:`~flare_mri.flare.aggregators.robust` that withstands dishonest sites.
        dishonest: how many of them a trimmed mean or multi-Krum is to withstand.
        max_norm: an update larger than `max_norm` medians is left out; 0 admits any size.
        clip_norm: an update larger than `clip_norm` medians is scaled down to that size; 0 clips nothing.
        max_weight: slices above `max_weight` medians do not count, with weighting ``slices``; 0 counts all.
        update_dtype: how updates of training travel, see :mod:`flare_mri.networks.differences`.

    Attributes:
        folder: on the server's disk, for the updates of a round.
        accepted: site -> what is kept in memory of its update.
        rejected: site -> why its update does not count.
    """

    def __init__(
        self,
        weighting: str = _DEFAULT.weighting,
        average: str = _DEFAULT.average,
        dishonest: int = _DEFAULT.dishonest,
        max_norm: float = _DEFAULT.max_norm,
        clip_norm: float = _DEFAULT.clip_norm,
        max_weight: float = _DEFAULT.max_weight,
        update_dtype: str = _DEFAULT.update_dtype,
    ):
        super().__init__()
        values = {"weighting": weighting, "max_norm": max_norm, "clip_norm": clip_norm, "max_weight": max_weight}
        AggregationSettings.read(
            {**values, "average": average, "dishonest": dishonest, "update_dtype": update_dtype}, "aggregator"
        )
        self.weighting = weighting
        self.average = average
        self.dishonest = dishonest
        self.max_norm = max_norm
        self.clip_norm = clip_norm
        self.max_weight = max_weight
        self.update_dtype = update_dtype
        self.scale, self.extra_scale = NormScale(), NormScale()
        self._updates: RoundUpdates | None = None
        self._round = 0
        self._dtype = update_dtype
        self.folder = Path(tempfile.gettempdir())
        self.accepted: dict[str, Accepted] = {}
        self.rejected: dict[str, str] = {}
        self.clipped: dict[str, float] = {}
        self.capped: dict[str, tuple[float, float]] = {}
        self.passed_over: list[str] = []

    def begin_round(
        self,
        reference: Mapping[str, Tensor],
        round_number: int,
        extra: Mapping[str, Tensor] | None = None,
        whole: bool = False,
        sites: int = 0,
    ) -> None:
        """Forget the round before; updates are now compared with `reference`, the global shared part.

        Args:
            reference: the global shared part.
            round_number: of the job.
            extra: further tensors that each site is to send, of which only names, shapes and types count.
            whole: the sites send weights in float32, whatever is said of updates: personal models.
            sites: how many are asked.

        Raises:
            InputError: :attr:`folder` has no space for their updates.
        """
        self.reset_stats()
        self._dtype = "float32" if whole else self.update_dtype
        self._round = round_number
        self._updates = RoundUpdates(reference, extra or {}, self.clipped, self.folder, sites)

    def reset_stats(self) -> None:
        """Forget all updates."""
        self.accepted, self.rejected, self.clipped, self.capped = {}, {}, {}, {}
        self.passed_over = []
        if self._updates:
            self._updates.close()
            self._updates = None

    def accept_model(self, model: FLModel) -> bool:
        """Check one site's update and put it away; True if it will count.

        Raises:
            InputError: the disk does not take it.
        """
        site = str(model.meta.get("client_name", "?"))
        if self._updates is None:
            self.rejected[site] = "it came outside of a round, expected it in one"
            return False
        try:
            if site in self.accepted:
                raise InputError("second update in one round, expected one")
            claims_slices = self.weighting == "slices"
            update = read_update(model, self._updates.whole, self._round, claims_slices, self._dtype)
        except InputError as problem:
            self.rejected[site] = str(problem)
            return False
        self._updates.put(site, update)
        parts = (self._updates.reference, self._updates.extra)
        norms = (norm({k: update[k] for k in part}, part) for part in parts)
        self.accepted[site] = Accepted(dict(model.metrics or {}), *norms)
        return True

    def counted(self) -> Mapping[str, State]:
        """The shared parts of the accepted updates by site, scaled down where they were, until the next round.

        Raises:
            InputError: no round has begun.
        """
        return self._kept().shared_of(self.accepted)

    def compare_norms(self, clip: bool = True) -> None:
        """Look at the sizes of all accepted updates, once the round's last has come.

        One that is more than `max_norm` times the scale moves to :attr:`rejected`; those more than `clip_norm` times
        as large are scaled down, and :attr:`clipped` holds by what factor.

        Args:
            clip: False scales nothing down: personal models may be far from the global one.
        """
        updates = self._kept()
        norms = {site: update.norm for site, update in self.accepted.items()}
        self._limit_norms(norms, updates.reference, self.scale, clip, "")
        if updates.extra:
            norms = {site: update.further_norm for site, update in self.accepted.items()}
            self._limit_norms(norms, updates.extra, self.extra_scale, clip, FURTHER)

    def _limit_norms(
        self, norms: Mapping[str, float], reference: Mapping[str, Tensor], scale: NormScale, clip: bool, part: str
    ) -> None:
        """Leave out or scale down what is too large of the accepted updates' part that `reference` names."""
        scale.follow(norms.values(), reference)
        for site, size in norms.items():
            if self.max_norm and size > self.max_norm * scale.least:
                sizes = {k: norm({k: self._kept().read(site, k)}, reference) for k in reference}
                largest = max(sizes, key=sizes.__getitem__)
                self.rejected[site] = (
                    f"update of norm {size:.3g}, expected at most {self.max_norm:g} times the round's median, or its "
                    f"floor, {scale.least:.3g}; largest in {largest} ({sizes[largest]:.3g})"
                )
                del self.accepted[site]
            elif clip and self.clip_norm and size > self.clip_norm * scale.value:
                self.clipped[site + part] = self.clip_norm * scale.value / size

    def aggregate_model(self) -> FLModel:
        """The weighted mean of the accepted updates, or the robust average that was asked for.

        Raises:
            InputError: no update was accepted, there is no mean of nothing; or too few for a robust average.
        """
        if not self.accepted:
            raise InputError(f"round {self._round}: no site sent a usable update ({self.rejected or 'no answer'})")
        sites, updates = sorted(self.accepted), self._kept()
        dishonest = count_dishonest(self.average, self.dishonest, len(sites))
        if self.average == "krum":
            chosen = sites_by_krum(updates, sites, dishonest)
            self.passed_over = [site for site in sites if site not in chosen]
            sites = chosen
        params = average_updates(updates, sites, self._weights(sites), self.average, dishonest)
        return FLModel(params_type=ParamsType.FULL, params=params, current_round=self._round)

    def _kept(self) -> RoundUpdates:
        if self._updates is None:
            raise InputError(f"round {self._round}: updates are read after its end; begin a round first")
        return self._updates

    def _weights(self, sites: Sequence[str]) -> list[float]:
        """Of the sites, summing to 1; :attr:`capped` then holds of whom how many slices were claimed and counted."""
        if self.weighting == "equal":
            return [1 / len(sites)] * len(sites)
        claims = {site: float(self.accepted[site].metrics["slices/train"]) for site in sites}
        most = self.max_weight * statistics.median_low(claims.values()) if self.max_weight else math.inf
        self.capped = {site: (claim, most) for site, claim in claims.items() if claim > most}
        counted = [min(claim, most) for claim in claims.values()]
        return [claim / sum(counted) for claim in counted]

    def treated(self) -> dict[str, set[str]]:
        """Sites whose update did not count as it came, by how: ``left_out`` or ``scaled_down``."""
        scaled = {name.partition(",")[0] for name in self.clipped}
        return {"left_out": {*self.rejected, *self.passed_over}, "scaled_down": scaled}

    def remarks(self) -> list[str]:
        """A line for each accepted update that was changed."""
        scaled = [f"update of {site} scaled down to {by:.1%} of its norm" for site, by in sorted(self.clipped.items())]
        capped = [
            f"{claim:.0f} slices of {site} count as {most:.0f}, {self.max_weight:g} times the round's median"
            for site, (claim, most) in sorted(self.capped.items())
        ]
        return (
            scaled
            + capped
            + [f"update of {site} is farthest from the others: krum leaves it out" for site in self.passed_over]
        )
