# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a hospital's IT learns before the first job comes."""

import json
from pathlib import Path

import pytest
import yaml

from flare_mri.check import main
from flare_mri.recipes import ALLOW_LIST

PHANTOM = """\
data: {format: phantom, subjects: 3, matrix: [32, 32], slices: {step: 4}}
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
    return tmp_path


def test_a_ready_hospital(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kit / "local" / "resources.json").write_text(json.dumps({"class_allow_list": ["other.", *ALLOW_LIST]}))
    assert main([str(kit)]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert found["site"] == "hospital-1" and found["jobs without code"] == "admitted"
    assert found["reconstruction"]["matrix"] == found["segmentation"]["matrix"] == [32, 32]
    assert min(found["reconstruction"]["slices"].values()) > 0 and found["segmentation"]["labelled"]
    assert Path(found["site store"]) == kit / "site_store" and not list((kit / "site_store").iterdir())


@pytest.mark.parametrize("policy", [None, {}, {"class_allow_list": ["nvflare."]}, []])
def test_jobs_without_code_need_the_policy(kit: Path, policy: object, capsys: pytest.CaptureFixture[str]) -> None:
    if policy is not None:
        (kit / "local" / "resources.json").write_text(json.dumps(policy))
    assert main([str(kit)]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["jobs without code"].startswith("refused")


@pytest.mark.parametrize(
    "path, text, told",
    [
        ("local/site.yaml", None, "site hospital-1: no site.yaml; looked at"),
        ("local/site.yaml", "site: other\ndata: {format: phantom}", "expected the FLARE site name 'hospital-1'"),
        ("local/site.yaml", "data: {format: dicom, root: /nowhere}", "/nowhere"),
        ("local/site.yaml", "pool: [site-1, site-2]", "has a pool, which is for simulated sites"),
        ("local/resources.json", "{", "resources.json: line 1: not valid JSON"),
        ("startup/fed_client.json", None, "give the folder of a hospital's startup kit"),
        ("startup/fed_client.json", "{}", "expected a hospital's name as client.fqsn"),
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
