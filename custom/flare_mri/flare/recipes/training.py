# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""How the components of a training job meet; the recipes of the two systems are its settings."""

from dataclasses import replace
from typing import Any, ClassVar

from nvflare.job_config.api import FedJob
from nvflare.job_config.defs import FilterType

from flare_mri.errors import InputError
from flare_mri.flare.aggregators.partial import CLIP_NORM, MAX_NORM, MAX_WEIGHT
from flare_mri.flare.components import (
    PartialAggregator,
    PersonalizedExecutor,
    PersonalizedFedAvg,
    SharedPartOnly,
    SharedPartPersistor,
    TrajectoryFedAvg,
    UpdatePrivacy,
)
from flare_mri.flare.protocol import DEFAULT_NEGATIVES, NEGATIVES_DTYPES, TaskName
from flare_mri.flare.recipes.job import FlareMRIRecipe, check_site_networks, network_config, shared_prefixes
from flare_mri.methods.table import Method
from flare_mri.training import TrainingSettings


class TrainingRecipe(FlareMRIRecipe):
    """A training job of a system: its own method and the baselines, settings of the same components.

    Args:
        name: name of the job and of its folder in every site's store.
        method: one of the recipe's `methods`.
        min_clients: sites the job needs, also the good updates a round needs.
        num_rounds: rounds of training.
        network: network settings, ``{"path": ..., "args": {...}}``; the paper's U-Net by default. ``spatial_dims``,
            ``in_channels`` and ``out_channels`` of one of MONAI's are the task's where they are left out.
        shared_layers: what is shared, where it is to differ from the method's.
        training: settings of every site's training; those a method is made of are put in.
        fedprox_mu: μ of the method FedProx; no other method uses it.
        negatives: ``own``, ``all`` (paper) or ``none``: whose former encoders the contrastive term pushes away from;
            ``all`` sends every site's to every site.
        negatives_dtype: ``float32`` or ``bfloat16``.
        weighting: ``equal`` or ``slices``; by default the paper's.
        site_networks: site -> network arguments that differ there, such as ``{"site-2": {"decoder": "refined"}}``;
            sites may have different private parts, the shared part must be the same.
        max_norm: an update larger than this many times the round's median is left out; 0 admits any size.
        clip_norm: an update larger than this many times the round's median is scaled down to it; 0 clips nothing.
        max_weight: slices above this many times the round's median do not count, with weighting ``slices``; 0 counts
            all.
        privacy: settings of :class:`~flare_mri.flare.filters.UpdatePrivacy` for what leaves a site in a round, such as
            ``{"mechanism": "svt", "arguments": {...}}``; not for IOP-FL, whose personal models leave whole.
        resume: go on after the last finished round of the job of this name.
        round_timeout: seconds a round may last; 0 is for ever.
        wait_time_after_min_received: seconds to wait for further sites once `min_clients` have answered.
        require_site_config: refuse sites without a ``site.yaml`` instead of training on the phantom.
        include_code: put the package's code into the job.

    Raises:
        InputError: a setting is unknown or out of range; the message names it.
    """

    job_name: ClassVar[str]
    site_task: ClassVar[str]
    methods: ClassVar[dict[str, Method]]
    default_network: ClassVar[dict[str, Any]]
    default_training: ClassVar[TrainingSettings]
    default_weighting: ClassVar[str]

    def __init__(
        self,
        *,
        name: str | None = None,
        method: str | None = None,
        min_clients: int = 4,
        num_rounds: int = 30,
        network: dict[str, Any] | None = None,
        shared_layers: str | list[str] | None = None,
        training: TrainingSettings | None = None,
        fedprox_mu: float = 0.01,
        negatives: str = DEFAULT_NEGATIVES,
        negatives_dtype: str = NEGATIVES_DTYPES[0],
        weighting: str | None = None,
        site_networks: dict[str, dict[str, Any]] | None = None,
        max_norm: float = MAX_NORM,
        clip_norm: float = CLIP_NORM,
        max_weight: float = MAX_WEIGHT,
        privacy: dict[str, Any] | None = None,
        resume: bool = False,
        round_timeout: int = 0,
        wait_time_after_min_received: int = 600,
        require_site_config: bool = False,
        include_code: bool = True,
    ):
        name = name or self.job_name
        method = method or next(iter(self.methods))
        if method not in self.methods:
            raise InputError(f"method {method!r}: expected one of {', '.join(self.methods)}")
        made_of = self.methods[method]
        mu: dict[str, Any] = {"fedprox_mu": fedprox_mu} if method == "FedProx" else {}
        settings = replace(training or self.default_training, **made_of.training, **mu).to_dict()
        seed = settings["seed"]
        weighting = weighting or self.default_weighting
        negatives = negatives if settings["contrastive_weight"] else "none"
        network = network or self.default_network
        shared: dict[str, Any] = {
            "network": network_config(network, self.site_task),
            "shared_layers": made_of.shared_layers if shared_layers is None else shared_layers,
        }
        server: dict[str, Any] = {"negatives": negatives, "negatives_dtype": negatives_dtype}
        limits = {"max_norm": max_norm, "clip_norm": clip_norm, "max_weight": max_weight}
        job = FedJob(name=name, min_clients=min_clients)
        workflow = TrajectoryFedAvg if made_of.gathers_personal_models else PersonalizedFedAvg
        controller = workflow(
            method=method,
            num_rounds=num_rounds,
            min_sites=min_clients,
            **server,
            round_timeout=round_timeout,
            wait_time_after_min_received=wait_time_after_min_received,
            resume=resume,
            settings={
                **{"job": name, "num_rounds": num_rounds, **shared, "training": settings, **server},
                **{"weighting": weighting, **limits, "privacy": privacy},
            },
        )
        _add_server(job, controller, PartialAggregator(weighting, **limits), {**shared, "seed": seed})
        executor = PersonalizedExecutor(
            job=name,
            method=method,
            task=self.site_task,
            **shared,
            training=settings,
            negatives=negatives,
            site_networks=site_networks,
            require_site_config=require_site_config,
        )
        if privacy and made_of.gathers_personal_models:
            raise InputError(f"privacy: {method} sends personal models whole; choose a method without them")
        check_site_networks(**shared, site_networks=site_networks or {})
        _add_sites(job, executor, (TaskName.SUBMIT,) if made_of.gathers_personal_models else (), privacy)
        super().__init__(job, self.site_task, seed, include_code, require_site_config)


def _add_server(
    job: FedJob, controller: PersonalizedFedAvg, aggregator: PartialAggregator, model: dict[str, Any]
) -> None:
    job.to_server(SharedPartPersistor(**model), id="persistor")
    job.to_server(aggregator, id="aggregator")
    job.to_server(controller, id="controller")


def _add_sites(
    job: FedJob, executor: PersonalizedExecutor, tasks: tuple[str, ...], privacy: dict[str, Any] | None
) -> None:
    """The executor, and between it and the wire FLARE's privacy filter, where asked for, and the gate."""
    names = [TaskName.CHECK, TaskName.TRAIN, TaskName.VALIDATE, *tasks]
    job.to_clients(executor, id="executor", tasks=names)
    if privacy:
        job.to_clients(UpdatePrivacy(**privacy), filter_type=FilterType.TASK_RESULT, tasks=names)
    gate = SharedPartOnly(shared_prefixes(executor.network, executor.shared_layers))
    job.to_clients(gate, filter_type=FilterType.TASK_RESULT, tasks=names)
