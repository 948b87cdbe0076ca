# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FLARE at a hospital outside the federation: the executor that makes a model for it (IOP-FL, arXiv 2204.08467)."""

import time
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
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.datasets.pieces import Pieces
from flare_mri.flare.executors.base import Action, ModelExecutor, plain_network
from flare_mri.flare.executors.received import read_plan, read_space
from flare_mri.flare.executors.site import Site, use_threads
from flare_mri.flare.protocol import PHANTOM, MetaKey, TaskName, add_prefix
from flare_mri.inference.calibration import PUBLISHED
from flare_mri.inference.contrast import warn_of_contrast
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.inference.quality import Quality, doubt, estimate_quality
from flare_mri.methods import ROUTING
from flare_mri.metrics.segmentation import OUTSIDE_BATCH
from flare_mri.metrics.volume_scores import SCORES_FILE, scores_text
from flare_mri.networks import build_meta_network, check_size
from flare_mri.routing import check_axes, check_routable
from flare_mri.routing.outside import Outside, OutsideModel
from flare_mri.routing.space import GLOBAL, MODEL_NAMES, RoutingSpace, row_names
from flare_mri.training import (
    SEGMENTATION,
    AbortedError,
    SegmentationTask,
    SiteStore,
    TrainingSettings,
    build_task,
)


class RoutingExecutor(ModelExecutor):
    """Makes a model for this site's unlabelled slices and predicts.

    A ``route`` task brings the routing space and its network's settings. The answer is numbers only: where the site has
    labels, mean scores of the site's model and of all that needs no label beside it
    (:meth:`flare_mri.routing.outside.Outside.predict_with_others`); how much each personal model counts, and how
    certain the prediction is. Labels only score; nothing is chosen with them. Predictions and the model go to the site
    store.

    Args:
        job: name of the job; names the folder in the site store.
        require_site_config: refuse to fall back on the phantom where the site has no ``site.yaml``.
        settings: fields of :class:`~flare_mri.config.adaptation.AdaptationSettings`.

    Raises:
        InputError: a setting that :class:`~flare_mri.config.adaptation.AdaptationSettings` does not admit.
    """

    def __init__(self, job: str, require_site_config: bool = False, settings: dict[str, Any] | None = None):
        super().__init__(job, require_site_config)
        self.settings = settings
        self._settings = AdaptationSettings.read(settings or {}, f"job {job!r:.80}")
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
        task, _ = self._site(fl_ctx, read_plan(fl_ctx.get_identity_name(), model))
        if network is not None:
            built = build_meta_network(plain_network(network))
            check_routable(built)
            check_axes(built, task.data.pieces(task.data.outside)[0])
        return FLModel(metrics={"slices/test": float(len(task.data.outside))})

    def _adapt(self, model: FLModel, fl_ctx: FLContext, abort_signal: Signal) -> FLModel:
        space = read_space(fl_ctx.get_identity_name(), model)
        task, store = self._site(fl_ctx, space.plan)
        metrics = {"slices/test": float(len(task.data.outside))}
        if self.open_site(fl_ctx).config.is_phantom():
            metrics[PHANTOM] = 1.0
        return FLModel(metrics=metrics | self._route(task, store, space, fl_ctx, abort_signal))

    def _route(
        self, task: SegmentationTask, store: SiteStore, space: RoutingSpace, fl_ctx: FLContext, abort_signal: Signal
    ) -> dict[str, float]:
        def after_epoch(epoch: int, terms: Mapping[str, float]) -> None:
            told = f"epoch {epoch}/{self._settings.epochs} of adaptation, loss {terms['loss']:.4f}"
            self.log_info(fl_ctx, f"site {task.site}: {told}")
            if abort_signal.triggered:
                raise AbortedError(f"site {task.site}: aborted after epoch {epoch} of adaptation")

        data = task.data.outside
        outside = Outside(space, task.data.pieces(data), self._settings, task.device)
        started = time.monotonic()
        metrics: dict[str, float] = {}
        names, volumes = row_names(list(space.experts)), {}
        if data.labelled:  # only to be scored
            for name, probabilities in outside.predict_with_others():
                found = task.score(data, _labels(probabilities), OUTSIDE_BATCH)
                metrics |= add_prefix(f"{name}/test", found.metrics)
                volumes[names[name]] = found.volumes
                if name == GLOBAL:
                    self._keep_pictures(store, task, name, _labels(probabilities))
                if abort_signal.triggered:
                    raise AbortedError(f"site {task.site}: aborted after {name} was scored")
                self.log_info(fl_ctx, f"site {task.site}: {name} scored after {time.monotonic() - started:.0f} s")
        model = outside.make_model(after_epoch)
        for line, with_names in zip(model.notes(), model.notes(_names(task)), strict=True):
            if with_names == line:
                self.log_info(fl_ctx, f"site {task.site}: {line}")
            else:
                self.note(fl_ctx, f"site {task.site}: {line}", f"site {task.site}: {with_names}")
        if model.report.fallback:
            told = f"the global model is used, not the {MODEL_NAMES[model.key]}: {model.report.fallback}"
            self.log_warning(fl_ctx, f"site {task.site}: {told}")
        probabilities = outside.pieces.probabilities(model.network, self._settings.batch_size)
        labels = _labels(probabilities)
        former = self._keep_model(store, task, space, model)  # first: one that is not finite keeps nothing
        expected = self._expect(task, model, probabilities, space, fl_ctx, abort_signal)
        self._keep_predictions(store, task, labels, expected)
        if former:
            self.log_info(fl_ctx, f"site {task.site}: the model of the run before is kept as {former.name}")
        self._keep_pictures(store, task, model.key, labels)
        if data.labelled:
            found = task.score(data, labels, OUTSIDE_BATCH)
            metrics |= add_prefix(f"{model.key}/test", found.metrics)
            store.save_text(SCORES_FILE, scores_text(volumes | {names[model.key]: found.volumes}))
        return metrics | model.numbers(list(space.experts))

    def _expect(
        self,
        task: SegmentationTask,
        model: OutsideModel,
        probabilities: torch.Tensor,
        space: RoutingSpace,
        fl_ctx: FLContext,
        abort_signal: Signal,
    ) -> dict[int, Quality]:
        """How good the prediction of each volume is likely to be, without a label; no number of it leaves the site."""
        data, found = task.data.outside, {}
        numbers = np.array([volume for volume, _ in data.indices])
        for number in data.used:
            if abort_signal.triggered:
                raise AbortedError(f"site {task.site}: aborted while the quality of the prediction was estimated")
            pieces = Pieces([data.volumes[number].slices], task.data.plan)
            mine = probabilities[np.flatnonzero(numbers == number)]
            quality = estimate_quality(model.network, pieces, mine, self._settings.batch_size, PUBLISHED)
            contrast = "" if model.experts else warn_of_contrast(model.network, pieces)
            known = model.known_dice(space.dice), model.distance, contrast
            found[number] = doubt(quality, *known, PUBLISHED.threshold)
        mean = sum(quality.dice for quality in found.values()) / len(found)
        self.log_info(fl_ctx, f"site {task.site}: mean predicted Dice of {len(found)} volumes {mean:.2f}")
        doubtful = {task.data.volume_names[number]: q.warning for number, q in found.items() if q.warning}
        if doubtful:
            told = f"site {task.site}: {len(doubtful)} of {len(found)} volumes may be segmented badly"
            names = "; ".join(f"{name}: {warning}" for name, warning in doubtful.items())
            self.note(fl_ctx, f"{told}; the site's own log names them", f"{told}: {names}")
        return found

    def _keep_predictions(
        self, store: SiteStore, task: SegmentationTask, labels: np.ndarray, expected: Mapping[int, Quality]
    ) -> None:
        data = task.data.outside
        places = [(number, data.volumes[number].kept[index]) for number, index in data.indices]
        where = dict(zip(("volume", "slice"), np.array(places).T, strict=True))
        predicted = np.array([expected[number].dice for number, _ in places], np.float32)
        store.save_arrays("predictions.npz", {"labels": labels, **where, "predicted_dice": predicted})

    def _keep_model(
        self,
        store: SiteStore,
        task: SegmentationTask,
        space: RoutingSpace,
        model: OutsideModel,
    ) -> Path | None:
        """The model that made the predictions, with the whole report."""
        known = task.spatial_size, task.orientations, task.slice_axis
        state = model.network.state_dict()
        kept = PersonalModel(
            self.job,
            task.site,
            SEGMENTATION,
            space.network,
            state,
            *known,
            plan=space.plan,
            own_dice=model.known_dice(space.dice),
            distance=model.distance,
        )
        if model.experts:
            kept = replace(kept, experts=model.experts, batch_size=self._settings.batch_size)
        described = {**kept.description(), "adaptation": model.report.as_dict()}
        return store.save_model(PERSONAL_FILE, kept.state, described)

    def _keep_pictures(self, store: SiteStore, task: SegmentationTask, key: str, labels: np.ndarray) -> None:
        """Examples for the site's own report, a file for each of the rows of results.json that are shown."""
        name = f"examples-{GLOBAL}.npz" if key == GLOBAL else "examples.npz"
        store.save_arrays(name, {**task.examples_of(labels), "method": np.array(MODEL_NAMES[key])})

    def _site(self, fl_ctx: FLContext, plan: SegmentationPlan) -> tuple[SegmentationTask, SiteStore]:
        site = self.open_site(fl_ctx)
        if site.notice:
            self.note(fl_ctx, site.notice, f"no site.yaml at {', '.join(map(str, site.looked))}")
        use_threads(site.config)
        training = TrainingSettings(**plan.model_dump())
        task: Any = build_task(SEGMENTATION, site.config, self._settings.seed, training=training)
        if self._store is None:
            self._store = SiteStore(site.store_root, self.job, site.config.site)
            self._store.lock()
        return task, self._store


def _names(task: SegmentationTask) -> list[str]:
    """Of the volumes whose pieces an outside site gives."""
    return [task.data.volume_names[number] for number in task.data.outside.used]


def _labels(probabilities: torch.Tensor) -> np.ndarray:
    """[N, classes, H, W] -> uint8 [N, H, W]."""
    return probabilities.argmax(1).to(torch.uint8).numpy()
