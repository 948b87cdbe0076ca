# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Base of the recipes: the job's code, its filter, the simulator's policy."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvflare.apis.job_def import ALL_SITES, SERVER_SITE_NAME
from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST
from nvflare.app_common.widgets.component_path_authorizer import CLASS_ALLOW_LIST
from nvflare.job_config.api import FedJob
from nvflare.recipe.run import Run
from nvflare.recipe.sim_env import SimEnv
from nvflare.recipe.spec import ExecEnv, Recipe

import flare_mri
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.config.training import TrainingSettings
from flare_mri.config.where import check_workspace
from flare_mri.deploy.policy import SERVER_CLASSES, SITE_CLASSES
from flare_mri.errors import InputError
from flare_mri.flare.executors.site import open_site
from flare_mri.flare.workflows.run_record import RESULTS_FILE
from flare_mri.folders import private_folder
from flare_mri.networks import SharedPart, build_network, shared_keys
from flare_mri.training import SEGMENTATION, SPLITS, Task, build_task
from flare_mri.transforms.neighbours import CHANNELS

PACKAGE = "flare_mri"


class FlareMRIRecipe(Recipe):
    """Base of the recipes.

    Args:
        job: the FLARE job.
        task: the sites' task, see :func:`flare_mri.training.build_task`.
        training: of the sites; of a job without training its seed alone counts.
        include_code: put the package into the job (BYOC in FLARE's words); False exports the form that sites with the
            package installed admit by ``class_allow_list``.
        require_site_config: refuse sites without a ``site.yaml`` instead of using the phantom.
    """

    def __init__(
        self,
        job: FedJob,
        task: str,
        training: TrainingSettings,
        include_code: bool,
        require_site_config: bool = False,
    ):
        super().__init__(job)
        self.task = task
        self.training = training
        self.include_code = include_code
        self.require_site_config = require_site_config
        self.sites: list[str] = []
        self.resume = False
        self._sources: tempfile.TemporaryDirectory | None = None
        job.job.set_app_packages([PACKAGE])
        job.to_server({"server": {"task_request_interval": 0.1}})

    def run(self, env: ExecEnv, *args: Any, **kwargs: Any) -> Run:
        """Run the job; in the simulator, first see that FLARE will take it and that every site's data can be used.

        Raises:
            InputError: the first thing that is wrong, naming site, file and fix.
        """
        if isinstance(env, SimEnv):
            workspace = Path(env.workspace_root) / self.name
            if not self.resume:
                keep_former(Path(env.workspace_root), self.name)
            allow_in_simulator(workspace)
            self.check_sites(env.clients or [f"site-{i + 1}" for i in range(env.num_clients)], workspace)
            print(f"{self.name}: FLARE starts, silent for some ten seconds", flush=True)
        return super().run(env, *args, **kwargs)

    def check_sites(self, names: Sequence[str], workspace: Path) -> None:
        """Read every simulated site's data once, before FLARE starts: a mistake costs a second, not a round."""
        for name in names:
            site = open_site(name, workspace, self.require_site_config)
            task = build_task(self.task, site.config, self.training.seed, training=self.training)
            print(f"{name}: {site.config.data.format}; {self.count_slices(task)}", flush=True)

    def count_slices(self, task: Task) -> str:
        """What of a site's data this job uses, in words."""
        return ", ".join(f"{len(task.dataset(split))} {split}" for split in SPLITS) + " slices"  # type: ignore[arg-type]

    def finalize(self) -> None:
        """Add the package's sources where the job is to carry them, and name the sites where they are to bind."""
        self._add_sources()
        if self.sites:
            self._job._set_all_apps()  # FLARE would deploy at every connected site, and takes no list of names
            app = next(iter(self._job.job.deploy_map.values()))
            self._job.job.deploy_map = dict.fromkeys([SERVER_SITE_NAME, *self.sites], app)

    def _add_sources(self) -> None:
        if not self.include_code or self._sources is not None:
            return
        self._sources = tempfile.TemporaryDirectory()
        staged = Path(self._sources.name) / PACKAGE
        shutil.copytree(Path(flare_mri.__file__).parent, staged, ignore=shutil.ignore_patterns("__pycache__"))
        for target in (SERVER_SITE_NAME, ALL_SITES):
            self._job.add_file_to(str(staged), target, dest_dir=PACKAGE)


def run_dir(workspace: Path, job: str) -> Path:
    """The server's folder of a simulated job."""
    return workspace / job / "server" / "simulate_job"


def results_path(workspace: Path, job: str) -> Path:
    """The results file of a simulated job that trains."""
    return run_dir(workspace, job) / RESULTS_FILE


def keep_former(workspace: Path, job: str) -> Path | None:
    """Move what the run before of a job left at the server out of the way of FLARE, which empties the job's folder.

    Args:
        workspace: of the simulator.
        job: its name.

    Returns:
        Where it lies now, ``<workspace>/former/<job>-<number>``; None where no run left results.
    """
    results = results_path(workspace, job)
    if not results.is_file():
        return None
    folder = private_folder(workspace / "former", "workspace")
    number = 1 + sum(path.name.rpartition("-")[0] == job for path in folder.iterdir())
    while (kept := folder / f"{job}-{number}").exists():
        number += 1
    results.parent.rename(kept)
    print(f"{job}: the run before is kept, with its results, in {kept}", flush=True)
    return kept


def allow_in_simulator(workspace: Path) -> None:
    """Write the simulator's ``local/resources.json`` with FLARE's default classes and ours.

    Raises:
        InputError: the path holds white space, which FLARE's simulator splits into two arguments.
    """
    check_workspace(workspace)
    path = workspace / "local" / "resources.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    allowed = [*DEFAULT_CLASS_ALLOW_LIST, *SITE_CLASSES, *SERVER_CLASSES]
    path.write_text(json.dumps({"format_version": 2, CLASS_ALLOW_LIST: allowed}, indent=1))


def network_config(network: dict[str, Any], task: str, plan: SegmentationPlan | None = None) -> dict[str, Any]:
    """A network as our components take it; ``config_type`` keeps FLARE from building it before the seed is set.

    One of MONAI's gets the task's dimensions and channels where its arguments do not name them, our U-Net those of
    segmentation.

    Args:
        network: ``{"path": ..., "args": {...}}``.
        task: of the sites.
        plan: of segmentation; None: one organ, in 2.5D.
    """
    plan = plan or SegmentationPlan()
    path, args = network["path"], network.get("args", {})
    if isinstance(args, dict):
        channels = {"in_channels": 1, "out_channels": 1}
        if task == SEGMENTATION:
            channels = {"in_channels": 1 if plan.patch_size else CHANNELS, "out_channels": plan.classes}
        if path.startswith("monai."):
            args = {"spatial_dims": 3 if plan.patch_size else 2, **channels, **args}
        elif task == SEGMENTATION:
            args = {**({"spatial_dims": 3} if plan.patch_size else {}), **channels, **args}
    return {"config_type": "dict", "path": path, "args": args}


def check_site_networks(
    network: dict[str, Any], shared_layers: str | list[str], site_networks: dict[str, dict[str, Any]]
) -> None:
    """Sites may differ in what is private, never in what is shared.

    Raises:
        InputError: a site's network has another shared part.
    """
    shared = SharedPart(network, shared_layers).state_dict()
    for site, args in site_networks.items():
        own = SharedPart({**network, "args": {**network["args"], **args}}, shared_layers).state_dict()
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in shared.items()}:
            raise InputError(f"site_networks, {site}: {args} changes what is shared; change the decoder only")


def shared_prefixes(network: dict[str, Any], shared_layers: str | list[str]) -> list[str]:
    """The shortest list of dotted prefixes that covers the shared keys and no private one.

    Args:
        network: network settings.
        shared_layers: see :func:`flare_mri.networks.shared_keys`.
    """
    built = build_network(network, seed=0)
    shared = set(shared_keys(built, shared_layers))
    prefixes: list[str] = []
    for key in built.state_dict():
        if key not in shared or any(key == p or key.startswith(f"{p}.") for p in prefixes):
            continue
        parts = key.split(".")
        for depth in range(1, len(parts) + 1):
            prefix = ".".join(parts[:depth])
            if all(k in shared for k in built.state_dict() if k == prefix or k.startswith(f"{prefix}.")):
                prefixes.append(prefix)
                break
    return prefixes
