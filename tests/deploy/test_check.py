# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The site check that a hospital's IT runs before the first job comes."""

import json
from pathlib import Path

import pytest
import yaml

from flare_mri.deploy.policy import NO_SHELL, POLICY_FILE, SITE_CLASSES, Policy
from flare_mri.program.site_check import main

PHANTOM = """\
data: {format: phantom, subjects: 3, spatial_size: [32, 32], slices: {step: 4}}
split: {train: 0.34, validation: 0.33, test: 0.33, by: volume}
"""


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A startup kit as far as it is read; tests/deploy checks one that FLARE made."""
    for variable in ("FLARE_MRI_SITE_CONFIG", "FLARE_MRI_STORE"):
        monkeypatch.delenv(variable, raising=False)
    for folder in ("startup", "local"):
        (tmp_path / folder).mkdir()
    (tmp_path / "startup" / "fed_client.json").write_text(json.dumps({"client": {"fqsn": "hospital-1"}}))
    (tmp_path / "local" / "site.yaml").write_text(PHANTOM)
    (tmp_path / "local" / POLICY_FILE).write_text(Policy().text())
    write(tmp_path, "resources.json", RESOURCES)
    write(tmp_path, "authorization.json", {"permissions": {"lead": {"submit_job": "any", "byoc": "none"}}})
    write(tmp_path, "privacy.json", PRIVACY)
    return tmp_path


RESOURCES = {
    "class_allow_list": ["other.Class", *SITE_CLASSES],
    "allow_log_streaming": False,
    "components": [NO_SHELL],
}
PIN = {"name": "SharedPartOnly", "path": "flare_mri.flare.components.SharedPartOnly", "args": {"allowed": ["encoder"]}}
PRIVACY = {"scopes": [{"name": "public", "task_result_filters": [PIN]}], "default_scope": "public"}


def write(kit: Path, name: str, values: object) -> None:
    (kit / "local" / name).write_text(json.dumps(values))


def test_a_ready_hospital(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(kit)]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert found["site"] == "hospital-1" and found["jobs without code"] == "admitted"
    assert found["jobs with code"] == "refused" and found["pinned filter"] == "encoder"
    assert found["takes part in"]["methods"][0] == "FedMRI" and "sgd" not in found["takes part in"]["optimizers"]
    assert found["reconstruction"]["spatial_size"] == found["segmentation"]["spatial_size"] == [32, 32]
    assert min(found["reconstruction"]["slices"].values()) > 0 and found["segmentation"]["labelled"]
    assert Path(found["site store"]) == kit / "site_store" and not list((kit / "site_store").iterdir())
    assert (kit / "site_store").stat().st_mode & 0o777 == 0o700


def test_what_a_kit_leaves_open_is_told(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(kit, "resources.json", {**RESOURCES, "class_allow_list": []})
    write(kit, "authorization.json", {"permissions": {"lead": {"byoc": "any"}, "member": {"byoc": "none"}}})
    (kit / "local" / "privacy.json").unlink()
    assert main([str(kit)]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert found["jobs without code"].startswith("refused")
    assert found["jobs with code"] == "admitted from lead: they may run anything here"
    assert found["pinned filter"].startswith("none")


HOLES = {
    "logs are streamed": ({"allow_log_streaming": True}, "allow_log_streaming: expected false, got True"),
    "logs are streamed by default": ({"allow_log_streaming": None}, "expected false, got None"),
    "FLARE's shell commands": ({"components": []}, "a server could read this machine's files"),
    "every module": ({"class_allow_list": ["flare_mri."]}, "exact names of classes, got 'flare_mri.'"),
    "every module, without the dot": ({"class_allow_list": ["flare_mri"]}, "got 'flare_mri', through which"),
    "one module": ({"class_allow_list": ["flare_mri.files"]}, "got 'flare_mri.files', through which"),
    "a class of an earlier version": (
        {"class_allow_list": [*SITE_CLASSES, "flare_mri.executors.PersonalizedExecutor"]},
        "class_allow_list: expected components of flare_mri",
    ),
    "a component of an earlier version": (
        {"components": [NO_SHELL, {"id": "old", "path": "flare_mri.widgets.NoShell", "args": {}}]},
        "got 'flare_mri.widgets.NoShell', which it does not have",
    ),
    "every class": ({"class_allow_list": ["*"]}, "exact names of classes, got '*'"),
    "FLARE's persistor": (
        {"class_allow_list": ["nvflare.app_opt.pt.file_model_persistor.PTFileModelPersistor"]},
        "through which a job can run any command",
    ),
    "no list": ({"class_allow_list": None}, "expected a list of classes"),
    "a list that only warns": ({"class_list_enforcement_mode": "warn"}, "which admits every class"),
}


@pytest.mark.parametrize("changed, told", HOLES.values(), ids=HOLES)
def test_a_kit_with_a_hole_is_refused(
    kit: Path, changed: dict[str, object], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(kit, "resources.json", RESOURCES | changed)
    assert main([str(kit)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and told in said.err and "flare-mri-policies" in said.err and said.err.count("\n") == 1


def test_a_pinned_filter_of_an_earlier_version_is_refused(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not there to be pinned: FLARE would end each job with an error about a module."""
    old = {**PIN, "path": "flare_mri.filters.SharedPartOnly"}
    write(kit, "privacy.json", {"scopes": [{"name": "public", "task_result_filters": [old]}]})
    assert main([str(kit)]) == 2
    told = capsys.readouterr().err
    assert "privacy.json: task_result_filters: expected components of flare_mri" in told and told.count("\n") == 1
    assert "'flare_mri.filters.SharedPartOnly'" in told and "flare-mri-policies" in told


def test_a_network_of_an_earlier_version_is_refused(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = kit / "local" / POLICY_FILE
    path.write_text(Policy().text().replace("flare_mri.networks.unet.UNet", "flare_mri.models.UNet"))
    assert main([str(kit)]) == 2
    told = capsys.readouterr().err
    assert f"{path}: networks" in told and "'flare_mri.models.UNet'" in told and told.count("\n") == 1


def test_a_kit_without_a_policy_is_refused(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kit / "local" / POLICY_FILE).unlink()
    assert main([str(kit)]) == 2
    assert "any method, network and optimizer would be admitted" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["local/resources.json", "local/flare_mri.yaml", "startup/fed_client.json"])
def test_a_file_of_the_kit_that_others_may_write_to_is_refused(
    kit: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (kit / path).chmod(0o666)
    assert main([str(kit)]) == 2
    assert f"{path}: expected a file of user" in capsys.readouterr().err


@pytest.mark.parametrize("rights", ["any", {"byoc": "none", "shell_commands": "o:site"}])
def test_a_kit_whose_files_the_consortium_s_admins_may_read_is_refused(
    kit: Path, rights: object, capsys: pytest.CaptureFixture[str]
) -> None:
    write(kit, "authorization.json", {"permissions": {"lead": {"byoc": "none"}, "project_admin": rights}})
    assert main([str(kit)]) == 2
    assert "shell_commands: expected none, got rights of project_admin" in capsys.readouterr().err


def test_a_kit_that_others_may_write_to_is_refused(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kit / "local").chmod(0o777)
    assert main([str(kit)]) == 2
    assert "only its owner may write to, got mode 777" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path, text, told",
    [
        ("local/site.yaml", None, "site hospital-1: no site.yaml; looked at"),
        ("local/site.yaml", "site: other\ndata: {format: phantom}", "expected the FLARE site name 'hospital-1'"),
        ("local/site.yaml", "data: {format: dicom, root: /nowhere}", "/nowhere"),
        ("local/site.yaml", "pooled_sites: [site-1, site-2]", "has pooled_sites, which is for simulated sites"),
        ("local/resources.json", "{", "resources.json: line 1: not valid JSON"),
        ("startup/fed_client.json", None, "give the folder of a site's startup kit"),
        ("startup/fed_client.json", "{}", "expected a site's name as client.fqsn"),
        ("startup/fed_client.json", '{"client": {"fqsn": "../x"}}', "site name '../x': expected letters"),
        ("site_store", "a file", "site store"),
    ],
)
def test_what_would_stop_a_job(
    kit: Path, path: str, text: str | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is None:
        (kit / path).unlink()
    else:
        (kit / path).write_text(text)
    assert main([str(kit)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and told in said.err and said.err.count("\n") == 1
