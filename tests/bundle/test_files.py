# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a bundle: what MONAI asks for, and nothing private."""

import json
import re
from dataclasses import replace
from pathlib import Path

import monai.bundle
import pytest
import torch

from bundles import NETWORKS, model, site
from flare_mri.bundle import export_bundle
from flare_mri.inference.personal_model import load_personal_model
from metadata_schema import assert_fits_schema


def test_metadata_has_what_monai_asks_for(tmp_path: Path, scans: Path) -> None:
    for number, name in enumerate(NETWORKS):
        export_bundle(model(name), site(tmp_path, scans), tmp_path / str(number))
        configs = tmp_path / str(number) / "configs"
        told = json.loads((configs / "metadata.json").read_text())
        assert_fits_schema(configs / "metadata.json", tmp_path)
        formats = told["network_data_format"]
        for tensor in (formats["inputs"]["image"], formats["outputs"]["pred"]):
            assert tensor["modality"] and len(tensor["channel_def"]) == tensor["num_channels"]
        assert formats["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "liver", "2": "kidney"}
        packages = told["required_packages_version"]
        assert ("flare-mri" in packages) == name.startswith("own") and "nibabel" in packages
        assert all(re.match(r"\d+\.\d+", value) for value in packages.values())
        monai.bundle.verify_net_in_out(  # runs the network on what the metadata says it takes
            "network_def", str(configs / "metadata.json"), str(configs / "inference.json"), device="cpu", p=1, n=1
        )


def test_monai_finds_every_part_that_its_tools_ask_for(tmp_path: Path, scans: Path) -> None:
    export_bundle(model("own"), site(tmp_path, scans), tmp_path / "bundle")
    config = str(tmp_path / "bundle" / "configs" / "inference.json")
    workflow = monai.bundle.ConfigWorkflow(
        config, workflow_type="infer", bundle_root=str(tmp_path / "bundle"), dataset_dir=str(scans)
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_files_are_private_and_name_nobody(tmp_path: Path, scans: Path) -> None:
    known, bundle = model("own"), tmp_path / "bundle"
    export_bundle(known, site(tmp_path, scans), bundle)
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert {str(path.relative_to(bundle)) for path in files} == {
        "LICENSE",
        "configs/inference.json",
        "configs/metadata.json",
        "docs/README.md",
        "models/model.pt",
        "models/model.safetensors",
    }
    for path in files:
        content = path.read_bytes()
        assert not any(name in content for name in (b"saint-mary", b"study-7", str(tmp_path).encode()))
        assert path.stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in (bundle, *bundle.rglob("*")) if path.is_dir()} == {0o700}
    assert "Research use only" in (bundle / "docs" / "README.md").read_text()
    assert "Research use only" in json.loads((bundle / "configs" / "metadata.json").read_text())["intended_use"]


def test_the_weights_are_the_models_in_both_files(tmp_path: Path, scans: Path) -> None:
    known = model("own")
    export_bundle(known, site(tmp_path, scans), tmp_path / "bundle")
    pickled = torch.load(tmp_path / "bundle" / "models" / "model.pt", weights_only=True)
    loaded = load_personal_model(tmp_path / "bundle" / "models" / "model.safetensors")
    assert pickled.keys() == loaded.state.keys() == known.state.keys()
    assert all(torch.equal(pickled[k], v) and torch.equal(loaded.state[k], v) for k, v in known.state.items())
    assert replace(loaded, state={}) == replace(known, state={}, job="bundle", site="bundle")


@pytest.mark.parametrize("lost", ["task", "num_channels"])
def test_the_schema_refuses_what_is_not_metadata(tmp_path: Path, scans: Path, lost: str) -> None:
    export_bundle(model("own"), site(tmp_path, scans), tmp_path / "bundle")
    file = tmp_path / "bundle" / "configs" / "metadata.json"
    content = json.loads(file.read_text())
    content.pop(lost, None)
    content["network_data_format"]["inputs"]["image"].pop(lost, None)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"'{lost}' is a required property"):
        assert_fits_schema(file, tmp_path)
