# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A federation in one process: the real controller, aggregator, filter and executors over FLARE's own wire format.

Only transport and scheduling are left out; every message passes through FOBS bytes, and all are kept for inspection.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nvflare.apis.dxo import from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.abstract.model import ModelLearnableKey
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_opt.pt.decomposers import TensorDecomposer
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.component_builder import ComponentBuilder

from flare_mri.flare.recipes.job import FlareMRIRecipe
from flare_mri.networks import SharedPart
from flare_mri.training import SiteStore

Tamper = Callable[[str, str, FLModel], FLModel | None]


def register_decomposers() -> None:
    """Decomposers that every FLARE process registers when it starts, and our components in a run."""
    flare_decomposers.register()
    fobs.register(TensorDecomposer)


@dataclass
class Federation:
    """Runs a recipe's own components in this process.

    Attributes:
        recipe: the recipe.
        sites: names of the sites.
        root: folder for the sites' FLARE folders and the server's run folder.
        fresh: every task gets a new executor, as in the simulator with fewer threads than sites.
        tamper: changes what a site answered before the server sees it.
        hostile: changes what the server gives to a site.
        connected: the connected sites at the time the server asks, if not always all.
        sent: (site, task, Shareable as the server decoded it) of every answer.
        wire: (site, task, bytes given to the site, bytes that it sent) of every task.
    """

    recipe: FlareMRIRecipe
    sites: list[str]
    root: Path
    fresh: bool = False
    tamper: Tamper | None = None
    hostile: Callable[[str, str, FLModel], FLModel] | None = None
    connected: Callable[[], list[str]] | None = None
    sent: list[tuple[str, str, Shareable]] = field(default_factory=list)
    wire: list[tuple[str, str, bytes, bytes]] = field(default_factory=list)
    panics: list[str] = field(default_factory=list)
    saved: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        register_decomposers()
        config = exported_config(self.recipe, self.root / "job")
        self._server, self._client = config["server"], config["client"]
        self._executors: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Run the whole job; returns results.json."""
        components = {c["id"]: build(c) for c in self._server["components"]}
        controller = build(self._server["workflows"][0])
        run_dir = self.root / "server"
        run_dir.mkdir(parents=True, exist_ok=True)
        persistor = components.get("persistor")
        assert persistor is None or isinstance(persistor.model, SharedPart)
        controller.fl_ctx = context("server", "job", self.root)
        controller.abort_signal = Signal()
        controller.engine = SimpleNamespace(
            get_clients=lambda: [
                SimpleNamespace(name=site) for site in (self.connected() if self.connected else self.sites)
            ],
            get_component=components.get,
        )
        controller.load_model = lambda: FLModel(
            params=persistor.load_model(controller.fl_ctx)[ModelLearnableKey.WEIGHTS]
        )
        controller.save_model = self._save
        controller.get_run_dir = lambda: str(run_dir)
        controller.event = lambda event: None
        controller.panic = self.panics.append
        controller.broadcast_model = self._broadcast
        controller.get_num_standing_tasks = lambda: 0
        controller.run()
        path = run_dir / "results.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def ask(
        self, site: str, task_name: str, params: dict[str, Any], meta: dict[str, Any], number: int = 0
    ) -> Shareable:
        """A site's answer to a server that runs a program of its own."""
        given = FLModel(params_type=ParamsType.FULL, params=params, current_round=number, total_rounds=1, meta=meta)
        return self._execute(site, task_name, fobs.loads(fobs.dumps(FLModelUtils.to_shareable(given))))

    def wire_of(self, site: str) -> bytes:
        """All bytes that a site has sent."""
        return b"".join(answer for who, _, _, answer in self.wire if who == site)

    def recipe_network(self) -> dict[str, Any]:
        """The network's settings as the sites get them."""
        return self._client["executors"][0]["executor"]["args"]["network"]

    def _save(self, model: FLModel) -> None:
        self.saved.append({"params": dict(model.params), "meta": dict(model.meta)})

    def _broadcast(
        self, data: FLModel, task_name: str, targets: list[str], callback: Callable[[FLModel], Any], **kwargs: Any
    ) -> None:
        for site in targets:
            message = self.hostile(site, task_name, copy.deepcopy(data)) if self.hostile else data
            given = fobs.dumps(FLModelUtils.to_shareable(message))
            reply = self._execute(site, task_name, fobs.loads(given))
            self.wire.append((site, task_name, given, fobs.dumps(reply)))
            self.sent.append((site, task_name, reply))
            if reply.get_return_code() != ReturnCode.OK:
                continue
            model = FLModelUtils.from_shareable(reply)
            model = self.tamper(site, task_name, model) if self.tamper else model
            if model is not None:
                model.meta["client_name"] = site
                callback(model)

    def _execute(self, site: str, task_name: str, task: Shareable) -> Shareable:
        fl_ctx = context(site, "job", self.root / site)
        executor = self._executors.get(site)
        if executor is None or self.fresh:
            executor = self._executors[site] = build(self._client["executors"][0]["executor"])
            executor.handle_event(EventType.START_RUN, fl_ctx)
        reply = executor.execute(task_name, task, fl_ctx, Signal())
        for chain in self._client["task_result_filters"]:
            if task_name in chain["tasks"]:
                for config in chain["filters"]:
                    reply = build(config).process(reply, fl_ctx)
        return fobs.loads(fobs.dumps(reply))


def exported_config(recipe: FlareMRIRecipe, folder: Path) -> dict[str, Any]:
    """The exported job's JSON: what a real site would be given."""
    recipe.include_code = False
    recipe.export(str(folder))
    root = folder / recipe.name
    found = {name: next(root.rglob(f"config_fed_{name}.json")) for name in ("server", "client")}
    return {name: json.loads(path.read_text()) for name, path in found.items()}


def build(config: dict[str, Any]) -> Any:
    """Build a component as FLARE does."""

    class Builder(ComponentBuilder):
        def get_module_scanner(self) -> None:
            return None  # every class is named by its full path

    return Builder().build_component(json.loads(json.dumps(config)))


def context(identity: str, job: str, root: Path) -> FLContext:
    """A FLARE context as a site's or the server's component sees it."""
    root.mkdir(parents=True, exist_ok=True)
    manager = FLContextManager(
        engine=None,
        identity_name=identity,
        job_id=job,
        public_stickers={},
        private_stickers={FLContextKey.WORKSPACE_ROOT: str(root), ReservedKey.RUN_NUM: job},
    )
    return manager.new_context()


def state_in(store: Path, job: str, site: str, number: int) -> dict[str, Any]:
    """The private state that a site's only run of a job left after a round."""
    states = list((store / job / site).glob(f"*/round-{number}.pt"))
    assert len(states) == 1, states
    state = SiteStore(store, job, site).load(states[0].name, states[0].parent.name)
    assert state is not None
    return state


def weights_in(shareable: Shareable) -> dict[str, Any]:
    """The tensors of a site's answer by name; empty where it sent metrics only."""
    dxo = from_shareable(shareable)
    return dxo.data if dxo.data_kind == "WEIGHTS" else {}
