# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""How the components of a training job meet; the recipes of the two systems are its settings."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from nvflare.app_opt.pt.file_model_persistor import PTFileModelPersistor
from nvflare.job_config.api import FedJob
from nvflare.job_config.defs import FilterType

from flare_mri.aggregators import PartialAggregator
from flare_mri.errors import InputError
from flare_mri.executors import PersonalizedExecutor
from flare_mri.filters import SharedPartOnly, UpdatePrivacy
from flare_mri.learners import TrainingSettings
from flare_mri.recipes.job import FlareMRIRecipe, check_site_networks, network_config, shared_prefixes
from flare_mri.wire import TaskName
from flare_mri.workflows import PersonalizedFedAvg


@dataclass(frozen=True)
class Method:
    """What makes a method: what is shared, the training settings it fixes, the server's workflow and further tasks."""

    partition: str
    training: dict[str, Any] = field(default_factory=dict)
    controller: type[PersonalizedFedAvg] = PersonalizedFedAvg
    tasks: tuple[str, ...] = ()


class TrainingRecipe(FlareMRIRecipe):
    """A training job of a system: its own method and the baselines, settings of the same components.

    Args:
        name: name of the job and of its folder in every site's store.
        method: one of the recipe's `methods`.
        min_clients: sites the job needs, also the good updates a round needs.
        num_rounds: rounds of training.
        network: network settings, ``{"path": ..., "args": {...}}``; the paper's U-Net by default.
        partition: what is shared, where it is to differ from the method's.
        training: settings of every site's training; those a method is made of are put in.
        fedprox_mu: μ of the method FedProx; no other method uses it.
        negatives: ``all`` (paper), ``own`` or ``none``: whose former encoders the contrastive term pushes away from.
        negatives_dtype: ``float32`` or ``bfloat16``.
        weighting: ``equal`` or ``slices``; by default the paper's.
        site_networks: site -> network arguments that differ there, such as ``{"site-2": {"decoder": "refined"}}``;
            sites may have different private parts, the shared part must be the same.
        max_norm: an update larger than this many times the round's median is left out; 0 admits any size.
        clip_norm: an update larger than this many times the round's median is scaled down to it; 0 clips nothing.
        privacy: settings of :class:`~flare_mri.filters.UpdatePrivacy` for what leaves a site in a round, such as
            ``{"mechanism": "svt", "arguments": {...}}``; not for IOP-FL, whose personal models leave whole.
        resume: go on after the last finished round of the job of this name.
        round_timeout: seconds a round may last; 0 is for ever.
        grace: seconds to wait for further sites once `min_clients` have answered.
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
        partition: str | list[str] | None = None,
        training: TrainingSettings | None = None,
        fedprox_mu: float = 0.01,
        negatives: str = "all",
        negatives_dtype: str = "float32",
        weighting: str | None = None,
        site_networks: dict[str, dict[str, Any]] | None = None,
        max_norm: float = 100.0,
        clip_norm: float = 0.0,
        privacy: dict[str, Any] | None = None,
        resume: bool = False,
        round_timeout: int = 0,
        grace: int = 600,
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
        weighting = weighting or self.default_weighting
        negatives = negatives if settings["contrastive_weight"] else "none"
        network = network or self.default_network
        shared: dict[str, Any] = {
            "network": network_config(network["path"], network["args"]),
            "partition": made_of.partition if partition is None else partition,
        }
        described = {"job": name, "num_rounds": num_rounds, **shared, "training": settings}

        job = FedJob(name=name, min_clients=min_clients)
        model = {"path": "flare_mri.networks.build.SharedPart", "args": {**shared, "seed": settings["seed"]}}
        job.to_server(PTFileModelPersistor(model=model, allow_numpy_conversion=False), id="persistor")
        job.to_server(PartialAggregator(weighting=weighting, max_norm=max_norm, clip_norm=clip_norm), id="aggregator")
        controller = made_of.controller(
            method=method,
            num_rounds=num_rounds,
            min_sites=min_clients,
            negatives=negatives,
            negatives_dtype=negatives_dtype,
            round_timeout=round_timeout,
            grace=grace,
            resume=resume,
            settings={
                **described,
                "negatives": negatives,
                "weighting": weighting,
                "max_norm": max_norm,
                "clip_norm": clip_norm,
                "privacy": privacy,
            },
        )
        job.to_server(controller, id="controller")
        executor = PersonalizedExecutor(
            job=name,
            task=self.site_task,
            **shared,
            training=settings,
            negatives=negatives,
            site_networks=site_networks,
            require_site_config=require_site_config,
        )
        tasks = [TaskName.CHECK, TaskName.TRAIN, TaskName.VALIDATE, *made_of.tasks]
        job.to_clients(executor, id="executor", tasks=tasks)
        check_site_networks(shared["network"], shared["partition"], site_networks or {})
        if privacy:
            if made_of.tasks:
                raise InputError(f"privacy: {method} sends personal models whole; choose a method without them")
            job.to_clients(UpdatePrivacy(**privacy), filter_type=FilterType.TASK_RESULT, tasks=tasks)
        gate = SharedPartOnly(shared_prefixes(shared["network"], shared["partition"]))
        job.to_clients(gate, filter_type=FilterType.TASK_RESULT, tasks=tasks)
        super().__init__(job, self.site_task, settings["seed"], include_code, require_site_config)
