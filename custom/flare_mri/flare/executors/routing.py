# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE at a hospital outside the federation: the executor that makes a model for it (IOP-FL, arXiv 2204.08467)."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.datasets.segmentation import SliceImages
from flare_mri.flare.executors.base import Action, SiteExecutor, plain_network
from flare_mri.flare.executors.received import read_space
from flare_mri.flare.executors.site import Site, use_threads
from flare_mri.flare.protocol import MetaKey, TaskName, add_prefix
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.methods import ROUTING
from flare_mri.metrics.segmentation import OUTSIDE_BATCH
from flare_mri.networks import build_meta_network, build_network, check_size
from flare_mri.routing import (
    MIN_SLICES,
    AdaptationReport,
    TestTimeLoss,
    adapt,
    build_routed_network,
    check_routable,
    predict,
)
from flare_mri.routing.space import GLOBAL, MODEL_NAMES, RoutingSpace
from flare_mri.training import SEGMENTATION, AbortedError, SegmentationTask, SiteStore, build_task
from flare_mri.training.segmentation import score

_DEFAULT = AdaptationSettings()


class RoutingExecutor(SiteExecutor):
    """Adapts a routed network to this site's unlabelled slices and predicts.

    A ``route`` task brings the routing space and its network's settings. The answer is numbers only: where the site has
    labels, mean scores of the global model, of each expert, of the mean of all predictions and of routing before and
    after the adaptation; and how certain and how far moved the routing is. Labels only score; nothing is chosen with
    them. Predictions and the adapted model go to the site store.

    Args:
        job: name of the job; names the folder in the site store.
        epochs: passes over the site's slices.
        lr: learning rate of the routers and of BatchNorm's affine parameters.
        batch_size: slices in a batch; the statistics of a batch are part of the network.
        seed: of noise, turns and dropout.
        require_site_config: refuse to fall back on the phantom where the site has no ``site.yaml``.
        entropy_reduction: ``mean`` or ``published``, see :class:`~flare_mri.routing.TestTimeLoss`.

    Raises:
        InputError: a setting that :class:`~flare_mri.config.adaptation.AdaptationSettings` does not admit.
    """

    def __init__(
        self,
        job: str,
        epochs: int = _DEFAULT.epochs,
        lr: float = _DEFAULT.lr,
        batch_size: int = _DEFAULT.batch_size,
        seed: int = _DEFAULT.seed,
        require_site_config: bool = False,
        entropy_reduction: str = _DEFAULT.entropy_reduction,
    ):
        super().__init__(job, require_site_config)
        values = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "seed": seed}
        AdaptationSettings.read({**values, "entropy_reduction": entropy_reduction}, f"job {job!r:.80}")
        self.epochs, self.lr, self.batch_size, self.seed = epochs, lr, batch_size, seed
        self.entropy_reduction = entropy_reduction
        self._loss = TestTimeLoss(entropy_reduction=entropy_reduction)
        self._store: SiteStore | None = None

    def actions(self) -> Mapping[str, Action]:
        """The tasks of a job for hospitals outside the federation."""
        return {TaskName.CHECK: self._check, TaskName.ROUTE: self._adapt}

    def refusals(self, site: Site, model: FLModel) -> dict[str, str]:
        """Refusals of the site's policy; the network is known once the routing space comes."""
        network = model.meta.get(MetaKey.NETWORK)
        refused = site.policy.refusals(ROUTING, network) if site.policy else {}
        if network is not None and not refused:
            check_size(plain_network(network))
        return refused

    def _check(self, model: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        network = model.meta.get(MetaKey.NETWORK)
        if network is not None:
            check_routable(build_meta_network(plain_network(network)))
        task, _ = self._site(fl_ctx)
        return FLModel(metrics={"slices/test": float(len(task.data.outside))})

    def _adapt(self, model: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        task, store = self._site(fl_ctx)
        space = read_space(task.site, model)
        metrics = {"slices/test": float(len(task.data.outside))}
        return FLModel(metrics=metrics | self._route(task, store, space, fl_ctx, abort_signal))

    def _route(
        self, task: SegmentationTask, store: SiteStore, space: RoutingSpace, fl_ctx: FLContext, abort_signal: Signal
    ) -> dict[str, float]:
        def after_epoch(epoch: int, terms: Mapping[str, float]) -> None:
            self.log_info(
                fl_ctx, f"site {task.site}: epoch {epoch}/{self.epochs} of adaptation, loss {terms['loss']:.4f}"
            )
            if abort_signal.triggered:
                raise AbortedError(f"site {task.site}: aborted after epoch {epoch} of adaptation")

        plain = build_network(space.network, self.seed).to(task.device)
        names, states = list(space.experts), list(space.experts.values())
        routed = build_routed_network(plain, states, names=names, seed=self.seed).to(task.device)
        experts = [_with(plain, state) for state in states]
        outside = task.data.outside
        slices = SliceImages(outside)
        before = {}
        if outside.labelled:  # only to be scored
            start = routed if len(slices) >= MIN_SLICES else experts[-1]
            before["unadapted"] = predict(start, slices, self.batch_size)
        settings = (self.epochs, self.lr, self.batch_size, self.seed, self._loss)
        report = adapt(routed, experts[-1], slices, *settings, after_epoch=after_epoch)
        if report.fallback:
            self.log_warning(fl_ctx, f"site {task.site}: the global model is used, not routing: {report.fallback}")
        elif report.kept_epoch < report.epochs:
            self.log_info(fl_ctx, f"site {task.site}: epoch {report.kept_epoch} had the lowest loss, its state is kept")
        probabilities = [predict(expert, slices, self.batch_size) for expert in experts]
        final = predict(experts[-1] if report.fallback else routed, slices, self.batch_size)
        former = self._keep_model(store, task, space, routed, report)  # first: one that is not finite keeps nothing
        self._keep_predictions(store, task, final)
        if former:
            self.log_info(fl_ctx, f"site {task.site}: the model of the run before is kept as {former.name}")
        self._keep_pictures(store, task, {GLOBAL: probabilities[-1], "routing": final})
        metrics = _routing_numbers(report)
        if outside.labelled:
            predicted = {f"expert-{i}": p for i, p in enumerate(probabilities[:-1])}
            predicted |= {GLOBAL: probabilities[-1], "mean": torch.stack(probabilities).mean(0)}
            predicted |= {**before, "routing": final}
            for name, probability in predicted.items():
                scores = score(outside, _labels(probability), OUTSIDE_BATCH)
                metrics |= add_prefix(f"{name}/test", scores)
        return metrics

    def _keep_predictions(self, store: SiteStore, task: SegmentationTask, final: torch.Tensor) -> None:
        labels = _labels(final)
        items = [task.data.outside[place] for place in range(len(labels))]
        where = {key: np.array([item[key] for item in items]) for key in ("volume", "slice")}
        store.save_arrays("predictions.npz", {"labels": labels, **where})

    def _keep_model(
        self,
        store: SiteStore,
        task: SegmentationTask,
        space: RoutingSpace,
        routed: torch.nn.Module,
        report: AdaptationReport,
    ) -> Path | None:
        """The model that made the predictions, the adapted one or the global one, with the whole report."""
        state = space.experts[GLOBAL] if report.fallback else routed.state_dict()
        known = task.spatial_size, task.orientations, task.slice_axis
        model = PersonalModel(self.job, task.site, SEGMENTATION, space.network, state, *known)
        if not report.fallback:
            model = replace(model, experts=tuple(space.experts), batch_size=self.batch_size)
        return store.save_model(PERSONAL_FILE, model.state, {**model.description(), "adaptation": report.as_dict()})

    def _keep_pictures(self, store: SiteStore, task: SegmentationTask, predicted: dict[str, torch.Tensor]) -> None:
        """Examples for the site's own report, a file for each of the rows of results.json that are shown."""
        for key, probabilities in predicted.items():
            pictures = task.examples_of(_labels(probabilities))
            name = "examples.npz" if key == "routing" else f"examples-{key}.npz"
            store.save_arrays(name, {**pictures, "method": np.array(MODEL_NAMES[key])})

    def _site(self, fl_ctx: FLContext) -> tuple[SegmentationTask, SiteStore]:
        site = self.open_site(fl_ctx)
        if site.notice:
            self.note(fl_ctx, site.notice, f"no site.yaml at {', '.join(map(str, site.looked))}")
        use_threads(site.config)
        task: Any = build_task(SEGMENTATION, site.config, self.seed)
        if self._store is None:
            self._store = SiteStore(site.store_root, self.job, site.config.site)
            self._store.lock()
        return task, self._store


def _labels(probabilities: torch.Tensor) -> np.ndarray:
    """[N, classes, H, W] -> uint8 [N, H, W]."""
    return probabilities.argmax(1).to(torch.uint8).numpy()


def _with(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    expert = copy.deepcopy(network)
    expert.load_state_dict(state)
    return expert


def _routing_numbers(report: AdaptationReport) -> dict[str, float]:
    """The label-free part of the answer: no number belongs to a single slice."""
    numbers = {"routing/seconds": report.seconds, "routing/fallback": float(report.fallback is not None)}
    for name, view in (("before", report.before), ("after", report.after)):
        if view is not None:
            numbers[f"routing/entropy_{name}"] = view.entropy
    if report.movement:
        numbers["routing/movement"] = float(np.mean(list(report.movement.values())))
    if report.after is not None:
        for layer, weights in report.after.routing.items():
            numbers |= {f"routing/weight/{layer}/{i}": float(w) for i, w in enumerate(weights)}
    return numbers
