# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reach of a job without code through the names that sites and servers list: our components alone."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from nvflare.apis.controller_spec import ControllerSpec
from nvflare.apis.executor import Executor
from nvflare.apis.filter import Filter
from nvflare.apis.fl_exception import UnsafeComponentError
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
from nvflare.app_common.widgets.component_path_authorizer import ComponentPathAuthorizer
from nvflare.fuel.utils.class_utils import instantiate_class

from federation import exported_config
from flare_mri.deploy.policy import SERVER_CLASSES, SITE_CLASSES
from flare_mri.flare import components
from flare_mri.flare.recipes import FedMRIRecipe, IOPFLOutsideRecipe, IOPFLRecipe
from flare_mri.flare.recipes.job import FlareMRIRecipe

LISTED = (*SITE_CLASSES, *SERVER_CLASSES)
KINDS = (ControllerSpec, Executor, Filter, ModelPersistor, ModelAggregator)


class Workspace:
    """As FLARE's, as far as its authorizer asks."""

    def __init__(self, path: Path, listed: list[str]):
        path.write_text(json.dumps({"class_allow_list": listed}))
        self.get_resources_file_path = lambda: str(path)


def admitted(name: str, tmp_path: Path) -> bool:
    """Whether FLARE's own authorizer lets a job name this, where exactly our classes are listed."""
    try:
        ComponentPathAuthorizer().authorize_component_config(
            {"path": name, "args": {}}, workspace=Workspace(tmp_path / "resources.json", list(LISTED))
        )
    except UnsafeComponentError:
        return False
    return True


def reachable(module: ModuleType) -> list[str]:
    """Every callable that FLARE could build under a module's name, and under those of the modules in it."""
    names = [f"{module.__name__}.{name}" for name, value in vars(module).items() if callable(value)]
    inner = [value for value in vars(module).values() if isinstance(value, ModuleType)]
    return names + [f"{module.__name__}.{found.__name__}" for found in inner]


def test_every_listed_name_is_a_component_and_nothing_else() -> None:
    assert sorted(LISTED) == sorted(f"flare_mri.flare.components.{name}" for name in components.__all__)
    for name in LISTED:
        module, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
        assert inspect.isclass(found) and issubclass(found, KINDS)


def test_the_module_of_components_holds_nothing_else() -> None:
    assert all(getattr(components, name) for name in components.__all__)
    public = [name for name in reachable(components) if not name.rpartition(".")[2].startswith("__")]
    assert sorted(public) == sorted(LISTED)


IMPORTED = """
import sys
main = sys.modules["__main__"]
main.__spec__ = type("Spec", (), {{"name": {main!r}}})
from flare_mri.flare import components
names = {names!r}
assert [getattr(components, name).__module__ for name in names] == ["flare_mri.flare.components"] * len(names)
import monai.networks.nets
print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"ignite", "matplotlib", "mlflow", "sklearn"}}))
print("nvflare.app_common.statistics.numeric_stats" in sys.modules)
import matplotlib.pyplot, ignite.engine
"""


@pytest.mark.parametrize(
    ("main", "hidden"),
    [("nvflare.private.fed.app.client.worker_process", True), ("flare_mri.program.main", False)],
)
def test_a_process_imports_what_its_job_names(main: str, hidden: bool) -> None:
    """Of a site that trains; what MONAI could use and no job does stays out of FLARE's processes, and of no other."""
    code = IMPORTED.format(main=main, names=["PersonalizedExecutor", "SharedPartOnly"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    packages, statistics = done.stdout.splitlines()
    assert (packages == "[]") == hidden and statistics == "False"


def test_flare_admits_the_listed_names_alone(tmp_path: Path) -> None:
    package = importlib.import_module("flare_mri")
    others = [
        name
        for path in Path(str(package.__file__)).parent.rglob("*.py")
        if "__main__" not in path.name
        for name in reachable(
            importlib.import_module(
                ".".join(path.relative_to(Path(str(package.__file__)).parents[1]).with_suffix("").parts).removesuffix(
                    ".__init__"
                )
            )
        )
    ]
    assert len(others) > 1000  # ZipFile, main, PTFileModelPersistor: whatever a module imports
    assert {name for name in others if admitted(name, tmp_path)} == set(LISTED)
    for attack in (
        "flare_mri.segment.main",
        "flare_mri.files.ZipFile",
        "flare_mri.flare.components.PersonalizedExecutorX",
        "nvflare.app_opt.pt.file_model_persistor.PTFileModelPersistor",
        "nvflare.app_common.logging.job_log_streamer.JobLogStreamer",
        "subprocess.Popen",
    ):
        assert not admitted(attack, tmp_path)


@pytest.mark.parametrize("name", [f"{name}.{inner}" for name in LISTED for inner in ("process", "execute", "__init__")])
def test_nothing_is_built_from_within_a_component(name: str) -> None:
    """FLARE's list admits what lies under a listed name too; but a class is no module that could be imported."""
    with pytest.raises(TypeError, match="'flare_mri.flare.components' is not a package"):
        instantiate_class(name, {})


@pytest.mark.parametrize("recipe", [FedMRIRecipe, IOPFLRecipe, IOPFLOutsideRecipe])
def test_jobs_name_listed_components_only(recipe: type[FlareMRIRecipe], tmp_path: Path) -> None:
    config = exported_config(recipe(include_code=False), tmp_path)
    parts = {
        "server": [*config["server"]["workflows"], *config["server"]["components"]],
        "client": [e["executor"] for e in config["client"]["executors"]]
        + [f for chain in config["client"]["task_result_filters"] for f in chain["filters"]],
    }
    assert {part["path"] for part in parts["server"]} <= set(SERVER_CLASSES)
    assert {part["path"] for part in parts["client"]} <= set(SITE_CLASSES)
