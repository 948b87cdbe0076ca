# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI and the baselines it is judged against, as one FLARE recipe."""

from dataclasses import replace
from typing import Any

from nvflare.app_opt.pt.file_model_persistor import PTFileModelPersistor
from nvflare.job_config.api import FedJob
from nvflare.job_config.defs import FilterType

from flare_mri.aggregators import PartialAggregator
from flare_mri.errors import InputError
from flare_mri.executors import PersonalizedExecutor
from flare_mri.filters import SharedPartOnly
from flare_mri.learners import TrainingSettings
from flare_mri.recipes.job import FlareMRIRecipe, network_config, shared_prefixes
from flare_mri.wire import TaskName
from flare_mri.workflows import PersonalizedFedAvg

TASK = "reconstruction"
UNET = "flare_mri.networks.unet.UNet"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "FedMRI": ("encoder", {}),
    "encoder-sharing": ("encoder", {"contrastive_weight": 0.0}),
    "FedAvg": ("all", {"contrastive_weight": 0.0}),
    "FedProx": ("all", {"contrastive_weight": 0.0}),
    "FedBN": ("all_but_norm", {"contrastive_weight": 0.0}),
    "all-but-last": ("all_but_last", {"contrastive_weight": 0.0}),
    "local-only": ("none", {"contrastive_weight": 0.0}),
    "centralised": ("all", {"contrastive_weight": 0.0}),
}
"""Method -> what is shared, and what it changes in the training settings."""


class FedMRIRecipe(FlareMRIRecipe):
    """Personalised MR image reconstruction: shared encoder, private decoders, weighted contrastive regularisation.

    Feng et al., "Specificity-Preserving Federated Learning for MR Image Reconstruction", IEEE TMI 2022,
    arXiv 2112.05752. The baselines are settings of the same components, chosen by `method`.

    Args:
        name: name of the job and of its folder in every site's store.
        method: one of :data:`METHODS`.
        min_clients: sites the job needs, also the good updates a round needs.
        num_rounds: rounds of training.
        network: network settings, ``{"path": ..., "args": {...}}``; the paper's U-Net by default.
        partition: what is shared, where it is to differ from the method's.
        training: settings of every site's training; those a method is made of are put in.
        fedprox_mu: μ of the method FedProx; no other method uses it.
        negatives: ``all`` (paper), ``own`` or ``none``: whose former encoders the contrastive term pushes away from.
        negatives_dtype: ``float32`` or ``bfloat16``.
        weighting: ``equal`` (paper) or ``slices``.
        round_timeout: seconds a round may last; 0 is for ever.
        require_site_config: refuse sites without a ``site.yaml`` instead of training on the phantom.
        include_code: put the package's code into the job.

    Raises:
        InputError: a setting is unknown or out of range; the message names it.
    """

    def __init__(
        self,
        *,
        name: str = "fedmri",
        method: str = "FedMRI",
        min_clients: int = 4,
        num_rounds: int = 30,
        network: dict[str, Any] | None = None,
        partition: str | list[str] | None = None,
        training: TrainingSettings | None = None,
        fedprox_mu: float = 0.01,
        negatives: str = "all",
        negatives_dtype: str = "float32",
        weighting: str = "equal",
        round_timeout: int = 0,
        require_site_config: bool = False,
        include_code: bool = True,
    ):
        if method not in METHODS:
            raise InputError(f"method {method!r}: expected one of {', '.join(METHODS)}")
        default_partition, changes = METHODS[method]
        partition = default_partition if partition is None else partition
        if method == "FedProx":
            changes = {**changes, "fedprox_mu": fedprox_mu}
        settings = replace(training or TrainingSettings(), **changes).to_dict()
        network = network_config(UNET, {}) if network is None else network_config(network["path"], network["args"])
        prefixes = shared_prefixes(network, partition)
        negatives = negatives if settings["contrastive_weight"] else "none"
        shared: dict[str, Any] = {"network": network, "partition": partition}
        described = {
            "job": name,
            "num_rounds": num_rounds,
            **shared,
            "training": settings,
            "negatives": negatives,
            "weighting": weighting,
        }

        job = FedJob(name=name, min_clients=min_clients)
        persistor = PTFileModelPersistor(
            model={"path": "flare_mri.networks.build.SharedPart", "args": {**shared, "seed": settings["seed"]}},
            allow_numpy_conversion=False,
        )
        job.to_server(persistor, id="persistor")
        job.to_server(PartialAggregator(weighting=weighting), id="aggregator")
        controller = PersonalizedFedAvg(
            method=method,
            num_rounds=num_rounds,
            min_sites=min_clients,
            negatives=negatives,
            negatives_dtype=negatives_dtype,
            round_timeout=round_timeout,
            settings=described,
        )
        job.to_server(controller, id="controller")
        executor = PersonalizedExecutor(
            job=name,
            task=TASK,
            **shared,
            training=settings,
            negatives=negatives,
            require_site_config=require_site_config,
        )
        tasks = [TaskName.CHECK, TaskName.TRAIN, TaskName.VALIDATE]
        job.to_clients(executor, id="executor", tasks=tasks)
        job.to_clients(SharedPartOnly(prefixes), filter_type=FilterType.TASK_RESULT, tasks=tasks)
        super().__init__(job, TASK, settings["seed"], include_code)
