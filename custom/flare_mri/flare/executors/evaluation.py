# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of a site's models on its own data, and what of them stays in its store."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from flare_mri.config.results import PERSONAL
from flare_mri.flare.protocol import add_prefix
from flare_mri.inference.contrast import tell_contrast
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.metrics.volume_scores import Rows
from flare_mri.training import AbortedError, Learner, RunStates, Split, Task
from flare_mri.training.segmentation import SegmentationTask
from flare_mri.training.task import Abort

_EXAMPLES = "examples.npz"


def evaluate(
    learner: Learner, method: str, received: Mapping[str, Tensor], evaluated_round: int, splits: Sequence[Split]
) -> tuple[dict[str, float], Rows]:
    """Scores of the received shared part with the site's own private part, and of its personal model where it has one.

    Args:
        learner: the site's; the network of the best validation is kept in it.
        method: under whose name scores of volumes are kept.
        received: the global shared part.
        evaluated_round: the round whose average it is.
        splits: on which.

    Returns:
        Means over each split, which leave; and scores of test volumes by pseudonym, which stay.
    """
    learner.receive(received)
    state = learner.personal()
    metrics: dict[str, float] = {}
    volumes: dict[str, Mapping[str, Mapping[str, float]]] = {}
    for split in splits:
        found = learner.task.evaluate_volumes(learner.network, split)
        metrics |= add_prefix(split, found.metrics)
        if split == "validation":
            learner.consider_best(found.metrics, evaluated_round)
        else:
            volumes[method] = found.volumes
        if state is not None:
            found = learner.task.evaluate_volumes(learner.network_with(state), split)
            metrics |= add_prefix(f"personal/{split}", found.metrics)
            if split != "validation":
                volumes[method + PERSONAL] = found.volumes
    return metrics, volumes


def tell_contrast_of(task: Task, network: nn.Module) -> str:
    """What the global model says of a segmenting site's contrast, of its training volumes; empty: nothing."""
    return tell_contrast(network, task.data.pieces(task.data.train)) if isinstance(task, SegmentationTask) else ""


def evaluate_models(
    task: Task, network: nn.Module, models: Mapping[str, Mapping[str, Tensor]], abort: Abort
) -> dict[str, float]:
    """Test scores of models by name; none of them is kept.

    Args:
        task: of the site.
        network: of their kind, whose weights are lost.
        models: states of it, checked.
        abort: asked before each; True ends.

    Raises:
        AbortedError: `abort` said so.
    """
    metrics: dict[str, float] = {}
    for name, state in models.items():
        if abort():
            raise AbortedError(f"site {task.site}: aborted before {name} was scored")
        network.load_state_dict(state)
        metrics |= add_prefix(f"{name}/test", task.evaluate(network, "test"))
    return metrics


def keep_personal_model(
    learner: Learner,
    states: RunStates,
    job: str,
    task: str,
    network: dict[str, Any],
    state: dict[str, Tensor],
    dice: float = math.nan,
) -> str:
    """Write a site's own model and some pictures by it into its store.

    Args:
        learner: the site's.
        states: of the run.
        job: its name.
        task: reconstruction or segmentation.
        network: its settings.
        state: of the whole network.
        dice: its mean in the site's test volumes; NaN where it has none.

    Returns:
        Name of the file to which the model of the run before moved; empty where there was none.
    """
    data = learner.task
    model = PersonalModel(
        job,
        data.site,
        task,
        network,
        state,
        data.spatial_size,
        data.orientations,
        data.slice_axis,
        acquisition=data.acquisition,
        plan=learner.settings.plan(),
        organ_sizes=data.organ_sizes,
        own_dice=None if math.isnan(dice) else dice,
    )
    former = states.store.save_model(PERSONAL_FILE, model.state, model.description(), states.run)
    states.store.save_arrays(_EXAMPLES, data.examples(learner.network_with(state)))
    return former.name if former else ""
