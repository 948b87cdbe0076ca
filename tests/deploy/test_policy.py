# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A hospital's own policy: a job outside of it is refused at both ends, whatever the lead says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY
from federation import Federation
from flare_mri.deploy.policy import POLICY_FILE, Policy, find_policy, read_policy
from flare_mri.errors import InputError
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.methods import METHOD_NAMES, METHODS, shared_layers_of
from flare_mri.training import TrainingSettings

SETTINGS = {"num_rounds": 1, "network": TINY, "include_code": False}
SGD = TrainingSettings(optimizer="sgd")
MONAI = {"path": "monai.networks.nets.BasicUNet", "args": {"spatial_dims": 2, "out_channels": 1, "features": [4] * 6}}
OUTSIDE = {
    "everything shared": ({"method": "FedAvg"}, "method FedAvg, admitted: FedMRI, ", "shared_layers all, admitted"),
    "sgd": ({"training": SGD}, "optimizer sgd, admitted: rmsprop, adam", ""),
    "another network": (
        {"network": MONAI, "shared_layers": ["conv_0", "down_1"]},
        "network monai.networks.nets.BasicUNet, admitted: flare_mri.networks.unet.UNet",
        "shared_layers all",
    ),
    "a shared_layers of its own": (
        {"shared_layers": ["encoder", "decoder"]},
        "shared_layers all, admitted: encoder, none",
        "",
    ),
}


def settle(root: Path, site: str, policy: Policy) -> None:
    (root / site / "local" / POLICY_FILE).write_text(policy.text())


@pytest.mark.parametrize("job, told, also", OUTSIDE.values(), ids=OUTSIDE)
def test_a_job_outside_the_policy_is_refused(
    tmp_path: Path, sites: list[str], job: dict, told: str, also: str, caplog: pytest.LogCaptureFixture
) -> None:
    settle(tmp_path, "site-2", Policy())
    federation = Federation(FedMRIRecipe(min_clients=3, **{**SETTINGS, **job}), sites, tmp_path)
    federation.run()
    assert "site site-2: refuses job 'fedmri', outside its policy: " in caplog.text
    assert told in caplog.text and also in caplog.text
    assert len(federation.panics) == 1 and "site-2" in federation.panics[0]
    assert not (tmp_path / "site-2" / "site_store").exists(), "refused before anything was read or written"
    assert {task for _, task, _ in federation.sent} == {"check"}


def test_a_job_within_the_policy_runs(tmp_path: Path, sites: list[str]) -> None:
    for site in sites:
        settle(tmp_path, site, Policy())
    federation = Federation(FedMRIRecipe(min_clients=3, **SETTINGS), sites, tmp_path)
    assert set(federation.run()["methods"]["FedMRI"]["sites"]) == set(sites) and not federation.panics


def test_a_server_that_skips_the_check_is_refused_too(tmp_path: Path, sites: list[str]) -> None:
    settle(tmp_path, "site-2", Policy())
    federation = Federation(FedMRIRecipe(min_clients=3, training=SGD, **SETTINGS), sites, tmp_path)
    reply = federation.ask("site-2", "train", params={}, meta={})
    assert reply.get_return_code() == "EXECUTION_EXCEPTION" and set(reply) == {"__headers__"}


def test_what_the_default_admits() -> None:
    default = Policy()
    assert set(default.shared_layers) == {"encoder", "none"} and default.pinned_prefixes() == ["encoder"]
    assert default.refusals("FedMRI", TINY, "encoder", "rmsprop") == {}
    assert set(default.refusals("IOP-FL", TINY, "all", "adam")) == {"method", "shared_layers"}
    assert default.model_copy(update={"shared_layers": ("encoder", "all")}).pinned_prefixes() == ["*"]
    assert default.model_copy(update={"shared_layers": ("none",)}).pinned_prefixes() == []
    assert default.model_copy(update={"networks": ("monai.networks.nets.BasicUNet",)}).pinned_prefixes() == ["*"]
    assert shared_layers_of(METHOD_NAMES) == ("encoder", "all", "all_but_norm", "all_but_last", "none")


def test_a_policy_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert find_policy(tmp_path, "a") is None
    policy = Policy(methods=("IOP-FL",), shared_layers=("all",), networks=(), optimizers=("adam",))
    (tmp_path / POLICY_FILE).write_text(policy.text())
    assert find_policy(tmp_path, "a") == policy


@pytest.mark.parametrize(
    "old, new, told",
    [
        ("optimizers", "optimisers", "optimizers: expected a list of names of optimizers, got nothing"),
        ("rmsprop", "lion", "optimizers: expected names out of rmsprop, adam, sgd, got 'lion'"),
        ("FedMRI", "FedMR", "methods: expected names out of"),
        ("encoder, none", "decoder", "shared_layers: expected names out of encoder, all"),
        ("unet.UNet", "UNet", "networks: expected the class's full name flare_mri.networks.unet.UNet"),
        ("unet.UNet", "unet.nn.Module", "networks: expected classes that this package admits"),
        ("networks: [", "networks: [] #", ""),
        ("methods", "more: 1\nmethods", "more: expected one of the keys"),
    ],
)
def test_a_wrong_policy_is_one_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / POLICY_FILE
    path.write_text(Policy().text().replace(old, new, 1))
    if not told:
        assert read_policy(path, "a").networks == ()
        return
    with pytest.raises(InputError) as caught:
        read_policy(path, "a")
    assert told in str(caught.value) and "site 'a'" in str(caught.value) and "\n" not in str(caught.value)


def test_the_documentation_shows_the_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "hospital-it.md").read_text()
    shown = next(block for block in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL) if "methods:" in block)
    assert shown in Policy().text()


@pytest.mark.parametrize("name", [POLICY_FILE, "flare_mri.yml"])
def test_a_policy_that_cannot_be_read_admits_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="flare_mri"):
        find_policy(tmp_path, "a")


def test_a_job_writes_no_line_of_its_own_into_a_log() -> None:
    told = Policy().refusals("FedMRI\n2026 ERROR forged", TINY, "encoder", "rmsprop")["method"]
    assert "\n" not in told and "FedMRI?2026 ERROR forged" in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("lr", value) for value in (1e5, 0.0, -1.0, float("nan"), float("inf"))],
        *[("task_loss_weight", value) for value in (1e-12, 1e9, float("nan"))],
        *[("lr_gamma", value) for value in (0.0, 1e9)],
        *[(name, value) for name in ("contrastive_weight", "fedprox_mu", "ditto_lambda") for value in (1e9, -1.0)],
        *[("ema_decay", value) for value in (1.0, -0.1, float("nan"))],
        ("optimizer", "lion"),
        ("head_epochs", -1),
    ],
)
def test_no_setting_makes_gradients_of_updates(name: str, value: object) -> None:
    """A loss below the optimizers' ε and a rate that undoes it would: RMSprop and Adam divide by no less."""
    models = [TrainingSettings, *(method.options for method in METHODS.values())]
    model = next(model for model in models if name in model.model_fields)
    with pytest.raises(InputError, match=f"^job: {name}: expected .*, got "):
        model.read({name: value}, "job")


def test_a_site_without_shell_commands() -> None:
    """In a process of its own: FLARE's list is one for the whole process."""
    script = (
        "from nvflare.private.defs import SysCommandTopic as T;"
        "from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors as P;"
        "from flare_mri.flare.site_components import NoShellCommands;"
        "topics = lambda: [t for p in P.request_processors for t in p.get_topics()];"
        "before = topics(); NoShellCommands(); assert T.SHELL in before;"
        "assert topics() == [t for t in before if t != T.SHELL] and len(topics()) > 10"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
