# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""From a routing space and a site's unlabelled slices to the model that the site uses (IOP-FL's outside)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.datasets.pieces import Pieces
from flare_mri.networks import build_network
from flare_mri.progress import count
from flare_mri.routing.adaptation import MIN_SLICES, AdaptationReport, adapt
from flare_mri.routing.contrast import CLEARLY, ENOUGH_OF_A_VOLUME, compare_with_negatives
from flare_mri.routing.losses import TestTimeLoss
from flare_mri.routing.matching import MatchReport, closeness, match
from flare_mri.routing.network import build_routed_network, check_axes
from flare_mri.routing.space import GLOBAL, RoutingSpace
from flare_mri.routing.statistics import find_divergence, load_state, tracked_norms, with_site_statistics

AfterEpoch = Callable[[int, Mapping[str, float]], None]
ALL_LAYERS = "all"
"""In place of a layer's name, of weights that are the same in all layers."""


@dataclass(frozen=True)
class OutsideModel:
    """The model that a strategy makes for a site.

    Attributes:
        key: of :data:`flare_mri.routing.space.MODEL_NAMES`.
        network: to predict with, in evaluation mode; the global model where the report says why.
        experts: names of the models that `network` mixes anew for every sample; empty where it is a plain network.
        report: of how it was made.
        turned: numbers of the volumes of the other contrast than the rest.
    """

    key: str
    network: nn.Module
    experts: tuple[str, ...]
    report: AdaptationReport | MatchReport
    turned: tuple[int, ...] = ()

    def notes(self, names: Sequence[str] = ()) -> list[str]:
        """How it was made, in words for the site's own log.

        Args:
            names: of the volumes; by default they are only counted.
        """
        report = self.report
        if isinstance(report, MatchReport):
            told = ", ".join(f"{name} {weight:.2f}" for name, weight in report.weights.items())
            why = "" if report.divergence else " (the network has no BatchNorm statistics to compare: all alike)"
            notes = [f"weights of the personal models: {told}{why}"]
            if self.turned:
                which = f" ({', '.join(names[number] for number in self.turned)})" if names else ""
                where = f"in {count(len(self.turned), 'volume')}{which} than in the others"
                notes.append(f"bright and dark are the other way round {where}: give them a folder of their own")
            if report.inverted:
                told = "the model takes images as negatives; leave data.inverted as it is"
                notes.append(f"bright and dark are the other way round than at most hospitals: {told}")
            elif report.is_unclear() and not self.turned:
                notes.append("not clear which way round bright and dark are: give scans of one contrast, look at each")
            if report.distance is not None:
                notes.append(f"distance from the federation's hospitals: {report.distance:.1f}")
            return notes
        if report.fallback is None and not report.epochs:
            return ["no epoch of adaptation: the routers predict as they begin"]
        if report.fallback is None and report.kept_epoch < report.epochs:
            return [f"epoch {report.kept_epoch} had the lowest loss, its state is kept"]
        return []

    @property
    def distance(self) -> float | None:
        """Of :func:`~flare_mri.routing.statistics.find_distance`; None where it is not known, and after adaptation."""
        return self.report.distance if isinstance(self.report, MatchReport) else None

    def known_dice(self, dice: Mapping[str, float]) -> float | None:
        """Mean Dice of the models it was made of, each in the test volumes of its own site, as much as each counts.

        Args:
            dice: of :class:`~flare_mri.routing.space.RoutingSpace`.

        Returns:
            In [0, 1]; None where that of one of them is not known.
        """
        report = self.report
        if report.fallback is not None:
            return dice.get(GLOBAL)
        weights = report.weights if isinstance(report, MatchReport) else dict.fromkeys(self.experts, 1.0)
        if not weights.keys() <= dice.keys():
            return None
        return sum(dice[name] * weight for name, weight in weights.items()) / sum(weights.values())

    def numbers(self, names: list[str]) -> dict[str, float]:
        """What may be told of it: no number was measured with labels or belongs to a single slice.

        Args:
            names: of the routing space's models, the global one last.
        """
        report = self.report
        numbers = {"routing/fallback": float(report.fallback is not None)}
        if isinstance(report, MatchReport):
            numbers["routing/entropy_before"] = report.global_model.entropy
            numbers["routing/entropy_after"] = report.matched.entropy
            weights = {ALL_LAYERS: [report.weights.get(name, 0.0) for name in names]}
        else:
            views = (("before", report.before), ("after", report.after))
            numbers |= {f"routing/entropy_{name}": view.entropy for name, view in views if view is not None}
            numbers["routing/seconds"] = report.seconds
            if report.movement:
                numbers["routing/movement"] = sum(report.movement.values()) / len(report.movement)
            weights = {} if report.after is None else dict(report.after.routing)
        for layer, row in weights.items():
            numbers |= {f"routing/weight/{layer}/{index}": float(weight) for index, weight in enumerate(row)}
        return numbers


class Outside:
    """A site outside the federation, with the routing space that it was given.

    Args:
        space: the personal models and the global one.
        pieces: of the site's volumes, without labels.
        settings: of how the model is made.
        device: where to compute.

    Raises:
        InputError: the network takes patches and these are slices, or the other way round.
    """

    def __init__(self, space: RoutingSpace, pieces: Pieces, settings: AdaptationSettings, device: torch.device):
        self.space, self.pieces, self.settings = space, pieces, settings
        self._plain = build_network(space.network, settings.seed).to(device)
        if len(pieces):
            check_axes(self._plain, pieces[0])
        self._routed: nn.Module | None = None

    def make_model(self, after_epoch: AfterEpoch = lambda epoch, terms: None) -> OutsideModel:
        """The site's model, by the strategy of the settings.

        Args:
            after_epoch: of :func:`flare_mri.routing.adaptation.adapt`, for the published strategy.

        Raises:
            InputError: no slices, or models that do not fit their network.
        """
        global_model, chosen = self._expert(GLOBAL), self.settings
        if chosen.strategy == "matched":
            personal = {name: state for name, state in self.space.experts.items() if name != GLOBAL}
            network, matched = match(self._plain, personal, global_model, self.pieces)
            turned = self._find_turned(global_model, matched.inverted)
            return OutsideModel("matched", network, (), matched, turned)
        routed = self._route()
        values = (chosen.epochs, chosen.lr, chosen.batch_size, chosen.seed)
        loss = TestTimeLoss(entropy_reduction=chosen.entropy_reduction)
        report = adapt(routed, global_model, self.pieces, *values, loss, after_epoch=after_epoch)
        if report.fallback:
            return OutsideModel("routing", global_model, (), report)
        return OutsideModel("routing", routed.eval(), tuple(self.space.experts), report)

    def predict_with_others(self) -> Iterator[tuple[str, Tensor]]:
        """Probabilities of all that needs no label and no training, to be scored beside the site's own model.

        Call it before :meth:`make_model`, which adapts the routers.

        Returns:
            Names of rows and probabilities [N, classes, (D,) H, W], one after the other.
        """
        sums: dict[str, Any] = dict.fromkeys(("mean", "mean_site", "mean_matched"), 0.0)
        models, total_weight = len(self.space.experts), 0.0
        for index, name in enumerate(self.space.experts):
            expert = self._expert(name)
            as_it_came = self.pieces.probabilities(expert, self.settings.batch_size)
            changed = with_site_statistics(expert, self.pieces)
            with_site = self.pieces.probabilities(changed, self.settings.batch_size)
            sums["mean"] += as_it_came / models
            sums["mean_site"] += with_site / models
            if name == GLOBAL:
                yield "global_site", with_site
            else:  # weighted as the mix is; the weights add up to 1 once they are all known
                weight = closeness(find_divergence(changed, expert)) if tracked_norms(expert) else 1.0
                sums["mean_matched"] += with_site * weight
                total_weight += weight
            yield (GLOBAL if name == GLOBAL else f"expert-{index}"), as_it_came
        yield from (sums | {"mean_matched": sums["mean_matched"] / total_weight}).items()
        if self.settings.strategy == "published":
            start = self._route() if len(self.pieces) >= MIN_SLICES else self._expert(GLOBAL)
            yield "unadapted", self.pieces.probabilities(start, self.settings.batch_size)

    def _find_turned(self, global_model: nn.Module, inverted: bool) -> tuple[int, ...]:
        """Numbers of the volumes that the global model takes for the other contrast than the site's; never of all."""
        turned = []
        for number, volume in enumerate(self.pieces.volumes):
            ratio = compare_with_negatives(global_model, Pieces([volume], self.pieces.plan), ENOUGH_OF_A_VOLUME)
            if ratio is not None and (1 / ratio if inverted else ratio) < CLEARLY:
                turned.append(number)
        return tuple(turned) if len(turned) < len(self.pieces.volumes) else ()

    def _expert(self, name: str) -> nn.Module:
        return load_state(self._plain, self.space.experts[name]).eval()

    def _route(self) -> nn.Module:
        if self._routed is None:
            names, states = list(self.space.experts), list(self.space.experts.values())
            self._routed = build_routed_network(self._plain, states, names=names, seed=self.settings.seed)
        return self._routed
