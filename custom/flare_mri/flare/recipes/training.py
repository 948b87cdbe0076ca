# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Assembly of a training job from its components; the recipes of the two systems are its settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from nvflare.job_config.api import FedJob
from nvflare.job_config.defs import FilterType

from flare_mri.bundle.weights import load_initial_weights
from flare_mri.config.network import UNROLLED
from flare_mri.config.server import AggregationSettings, ServerSettings
from flare_mri.errors import InputError
from flare_mri.flare.aggregators.robust import count_dishonest
from flare_mri.flare.components import (
    PartialAggregator,
    PersonalizedExecutor,
    PersonalizedFedAvg,
    SharedPartOnly,
    SharedPartPersistor,
    UpdatePrivacy,
)
from flare_mri.flare.protocol import TaskName
from flare_mri.flare.recipes.job import FlareMRIRecipe, check_site_networks, network_config, shared_prefixes
from flare_mri.flare.workflows.roster import Roster
from flare_mri.flare.workflows.tracking import MLFLOW, import_mlflow
from flare_mri.methods import Method
from flare_mri.methods.systems import System
from flare_mri.networks import SharedPart, build_meta_network
from flare_mri.networks.admitted import full_name
from flare_mri.training import TrainingSettings
from flare_mri.training.build import check_training
from flare_mri.training.private_steps import check_network
from flare_mri.training.self_supervision import SSDU

_TOLD_IF_SET = ("sites_per_round", "shut_out_after")


class TrainingRecipe(FlareMRIRecipe):
    """A training job of a system: its own method and the baselines, settings of the same components.

    Args:
        name: name of the job and of its folder in every site's store.
        method: one of the system's.
        min_clients: sites the job needs, also the good updates a round needs.
        network: network settings, ``{"path": ..., "args": {...}}``; the system's by default. ``spatial_dims``,
            ``in_channels`` and ``out_channels`` of one of MONAI's are the task's where they are left out.
        shared_layers: what is shared, where it is to differ from the method's.
        training: settings of every site's training.
        site_networks: site -> network arguments that differ there, such as ``{"site-2": {"decoder": "refined"}}``;
            sites may have different private parts, the shared part must be the same.
        resume: go on after the last finished round of the job of this name.
        require_site_config: refuse sites without a ``site.yaml`` instead of training on the phantom.
        include_code: put the package's code into the job.
        settings: fields of :class:`~flare_mri.config.server.ServerSettings`, and of the method's own options.

    Raises:
        InputError: a setting is unknown or out of range; the message names it.
    """

    system: ClassVar[System]

    def __init__(
        self,
        *,
        name: str | None = None,
        method: str | None = None,
        min_clients: int = 4,
        network: dict[str, Any] | None = None,
        shared_layers: str | list[str] | None = None,
        training: TrainingSettings | None = None,
        site_networks: dict[str, dict[str, Any]] | None = None,
        resume: bool = False,
        require_site_config: bool = False,
        include_code: bool = True,
        **settings: Any,
    ):
        name = name or self.system.name
        chosen = self._method(method or next(iter(self.system.methods)))
        server, options = self._divide(chosen, {**settings, "min_sites": min_clients})
        chosen_training = training or self.system.training
        _check_training(chosen_training, self.system.task, network or self.system.network)
        learn = chosen_training.model_dump(mode="json")
        if learn["lr_schedule"] == "cosine":
            learn["lr_rounds"] = learn["lr_rounds"] or server.num_rounds
        shared: dict[str, Any] = {
            "network": network_config(network or self.system.network, self.system.task, chosen_training),
            "shared_layers": chosen.shared_layers if shared_layers is None else shared_layers,
        }
        if server.privacy and chosen.gathers_personal_models:
            raise InputError(f"privacy: {chosen.name} sends personal models whole; choose a method without them")
        if server.cross_site and not chosen.gathers_personal_models:
            raise InputError(
                f"cross_site: expected IOP-FL of jobs/iopfl, whose personal models go to the server, got "
                f"{chosen.name}, of which they never leave a site; leave it out"
            )
        if server.privacy_arguments and not server.privacy:
            raise InputError("privacy_arguments: of which filter? give privacy too")
        privacy = {"mechanism": server.privacy, "arguments": server.privacy_arguments or {}} if server.privacy else None
        if server.privacy and server.update_dtype != "float32":
            raise InputError(
                f"update_dtype: expected float32 with privacy, got {server.update_dtype}: noise is not to be "
                "rounded; omit one of them"
            )
        count_dishonest(server.average, server.dishonest, Roster(server.sites_per_round).least(min_clients))
        aggregation = server.model_dump(include=set(AggregationSettings.model_fields))
        start = {"initial_weights": server.initial_weights} if server.initial_weights else {}
        if start and shared["shared_layers"] == "none":
            raise InputError(f"initial_weights: method {chosen.name} shares no part to begin with them; omit it")
        job = FedJob(name=name, min_clients=min_clients)
        controller = PersonalizedFedAvg(
            method=chosen.name,
            num_rounds=server.num_rounds,
            min_sites=min_clients,
            options=options,
            round_timeout=server.round_timeout,
            wait_time_after_min_received=server.wait_time_after_min_received,
            sites_per_round=server.sites_per_round,
            shut_out_after=server.shut_out_after,
            resume=resume,
            tracking=server.tracking,
            cross_site=server.cross_site,
            settings={
                **{"job": name, "num_rounds": server.num_rounds, **shared, "training": learn, "options": options},
                **aggregation,
                **start,
                "privacy": privacy,
                **{name: value for name in _TOLD_IF_SET if (value := getattr(server, name))},
            },
        )
        self._tracking = server.tracking
        self._model = {**shared, "seed": learn["seed"], **start}
        _add_server(job, controller, PartialAggregator(**aggregation), self._model)
        executor = PersonalizedExecutor(
            job=name,
            method=chosen.name,
            task=self.system.task,
            **shared,
            training=learn,
            options=options,
            update_dtype=server.update_dtype,
            site_networks=site_networks,
            require_site_config=require_site_config,
        )
        check_site_networks(**shared, site_networks=site_networks or {})
        _add_sites(job, executor, chosen, privacy, server.cross_site)
        super().__init__(job, self.system.task, chosen_training, include_code, require_site_config)
        self.resume = resume

    def check_sites(self, names: Sequence[str], workspace: Path) -> None:
        """Also read the initial weights, and look for MLflow, as the simulated server will.

        Raises:
            InputError: the first thing that is wrong, naming the file or the site.
        """
        if path := self._model.get("initial_weights"):
            shared = SharedPart(self._model["network"], self._model["shared_layers"])
            load_initial_weights(Path(path), shared.state_dict())
        if self._tracking == MLFLOW:
            import_mlflow()
        super().check_sites(names, workspace)

    def _method(self, name: str) -> Method:
        if name not in self.system.methods:
            raise InputError(f"method {name!r}: expected one of {', '.join(self.system.methods)}")
        return self.system.methods[name]

    def _divide(self, method: Method, settings: dict[str, Any]) -> tuple[ServerSettings, dict[str, Any]]:
        """The server's settings and the method's options, each once."""
        own = {name: value for name, value in settings.items() if name not in ServerSettings.model_fields}
        if unknown := sorted(own.keys() - method.options.model_fields.keys()):
            whose = [m.name for m in self.system.methods.values() if unknown[0] in m.options.model_fields]
            takes = ", ".join(method.options.model_fields) or "no settings of its own"
            told = f"it is of {' and '.join(whose)}; leave it out" if whose else "correct its name"
            raise InputError(f"{unknown[0]}: method {method.name} takes {takes}; {told}")
        server = {"weighting": self.system.weighting} | {k: v for k, v in settings.items() if k not in own}
        options = method.options.read(own, f"method {method.name}")
        return ServerSettings.read(server, "job"), options.model_dump()


def _add_server(
    job: FedJob, controller: PersonalizedFedAvg, aggregator: PartialAggregator, model: dict[str, Any]
) -> None:
    job.to_server(SharedPartPersistor(**model), id="persistor")
    job.to_server(aggregator, id="aggregator")
    job.to_server(controller, id="controller")


def _add_sites(
    job: FedJob, executor: PersonalizedExecutor, method: Method, privacy: dict[str, Any] | None, cross_site: bool
) -> None:
    """The executor, and between it and the wire FLARE's privacy filter, where asked for, and the gate."""
    names = [TaskName.CHECK, TaskName.TRAIN, TaskName.VALIDATE]
    names += [TaskName.SUBMIT] if method.gathers_personal_models else []
    names += [TaskName.CROSS_EVALUATE] if cross_site else []
    job.to_clients(executor, id="executor", tasks=names)
    if privacy:
        job.to_clients(UpdatePrivacy(**privacy), filter_type=FilterType.TASK_RESULT, tasks=names)
    prefixes = shared_prefixes(executor.network, executor.shared_layers)
    gate = SharedPartOnly(prefixes + ([method.extra_prefix] if method.extra_prefix else []))
    job.to_clients(gate, filter_type=FilterType.TASK_RESULT, tasks=names)


def _check_training(training: TrainingSettings, task: str, network: dict[str, Any]) -> None:
    """Refuses what the job alone shows to be impossible, before any site hears of it."""
    check_training(training, task)
    if training.private:
        check_network(build_meta_network(network_config(network, task, training)), "job")
    if training.loss == SSDU and (name := full_name(network)) != UNROLLED:
        raise InputError(
            f"loss: expected mse, l1 or l1_ssim for {name}, got {SSDU!r}, which needs the complex images of "
            "UnrolledNetwork; choose another loss or network"
        )
