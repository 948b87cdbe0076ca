# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle marks every voxel as the model itself does, and says what MONAI asks for and nothing private."""

import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from flare_mri.bundle import export_bundle
from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.config.data import SliceRange
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.datasets.pieces import in_order
from flare_mri.errors import InputError
from flare_mri.export import main
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel, load_personal_model
from flare_mri.inference.segmentation import Segmenter
from flare_mri.networks import build_network
from flare_mri.route import make_model
from flare_mri.routing.space import GLOBAL, RoutingSpace
from flare_mri.training import SiteStore
from monai_networks import spec

OWN: dict[str, Any] = {"channels": 4, "num_pools": 2, "norm": "batch"}
ORGANS = ("liver", "kidney")
NETWORKS: dict[str, dict[str, Any]] = {
    "own": {"path": "flare_mri.networks.unet.UNet", "args": {**OWN, "in_channels": 3, "out_channels": 3}},
    "own 3D": {
        "path": "flare_mri.networks.unet.UNet",
        "args": {**OWN, "in_channels": 1, "out_channels": 3, "spatial_dims": 3},
    },
    "MONAI": spec("UNet", spatial_dims=2, in_channels=3, out_channels=3),
    "MONAI 3D": spec("UNet", spatial_dims=3, in_channels=1, out_channels=3),
}
REQUIRED = {  # of MONAI's specification, https://docs.monai.io/en/stable/mb_specification.html
    "version": str,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "required_packages_version": dict,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "network_data_format": dict,
}
TENSOR = {
    "type": str,
    "format": str,
    "modality": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
    "is_patch_data": bool,
    "channel_def": dict,
}


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three oblique scans of unequal voxels, each stored in another order of axes, and what is no scan beside them."""
    folder = tmp_path / "scans"
    folder.mkdir()
    cos, sin = np.cos(0.3), np.sin(0.3)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag([0.7, 0.6, 2.5])
    affine[:3, 3] = [30, -20, 7]
    random = np.random.default_rng(0)
    for number, codes in enumerate(("RAS", "PIR", "SLA")):
        image = nibabel.Nifti1Image((1000 * random.random((20, 27, 7 + number))).astype(np.int16), affine)
        turned = image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(codes)))
        nibabel.save(turned, folder / f"Case{number:02d}{'.nii' if number else '.nii.gz'}")
    (folder / "Case00_Segmentation.nii.gz").write_bytes(b"no NIfTI file")
    (folder / "notes.txt").write_text("no scan")
    return folder


def site(tmp_path: Path, scans: Path, more: str = "", size: str = "[24, 32]") -> SiteConfig:
    path = tmp_path / "site.yaml"
    path.write_text(f"data: {{format: prostate, root: {scans}, spatial_size: {size}{more}}}\n")
    return load_site_config(path, "saint-mary")


def model(name: str, **changed: Any) -> PersonalModel:
    settings, patch = NETWORKS[name], (8, 16, 16) if name.endswith("3D") else None
    network, noise = build_network(settings, 8), torch.Generator().manual_seed(1)
    size = [settings["args"]["in_channels"], *(patch or (24, 32))]
    for layer in network.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = 0.9
    for _ in range(3):  # statistics as after training
        network(torch.randn(4, *size, generator=noise))
    state = network.state_dict()
    plan = SegmentationPlan(organs=ORGANS, patch_size=patch)
    known = PersonalModel("study-7", "saint-mary", "segmentation", settings, state, (24, 32), ("RAS",), 2, plan=plan)
    return replace(known, **{"batch_size": 4, **changed})


def run_bundle(bundle: Path, scans: Path, out: Path) -> dict[str, Any]:
    """Files of the results by name, after MONAI ran the bundle."""
    config = str(bundle / "configs" / "inference.json")
    monai.bundle.run(config_file=config, bundle_root=str(bundle), dataset_dir=str(scans), output_dir=str(out))
    return {path.name: nibabel.load(path) for path in sorted(out.iterdir())}


def assert_same(found: dict[str, Any], known: PersonalModel, config: SiteConfig, scans: Path) -> None:
    """The files of a bundle are those of the model itself, voxel by voxel and at the same place."""
    segmenter = Segmenter(known, config, scans)
    assert [name.removesuffix(segmenter.ending) for name in found] == segmenter.names and len(found) == 3
    for number, image in enumerate(found.values()):
        wanted = nibabel.Nifti1Image.from_bytes(gzip.decompress(segmenter.apply(number).content))
        labels = np.asarray(wanted.dataobj)
        assert image.shape == wanted.shape and image.get_data_dtype() == np.uint8
        np.testing.assert_allclose(image.affine, wanted.affine, atol=1e-5)
        assert len(np.unique(labels)) > 1
        np.testing.assert_array_equal(np.asarray(image.dataobj), labels)


@pytest.mark.parametrize(
    ("name", "more", "changed"),
    [
        ("own", "", {}),
        ("own", ", spacing: [0.8, 0.8, 2.0], fit: resize", {"orientations": ("LPS",)}),
        ("own", ", fit: resize", {"slice_axis": 0, "orientations": ("PIR",)}),
        ("own", ", orientation: null, spacing: [0.8, 0.8, 2.0]", {"orientations": (), "slice_axis": 1}),
        ("MONAI", ", spacing: [0.8, 0.7, 2.0]", {}),
        ("own 3D", "", {"slice_axis": 0}),
        ("own 3D", ", spacing: [0.8, 0.7, 2.0]", {}),
        ("MONAI 3D", ", fit: resize", {"slice_axis": 1, "orientations": ("SLA",)}),
    ],
)
def test_every_voxel_is_the_models(tmp_path: Path, scans: Path, name: str, more: str, changed: Any) -> None:
    known, config = model(name, **changed), site(tmp_path, scans, more)
    export_bundle(known, config, tmp_path / "bundle")
    assert_same(run_bundle(tmp_path / "bundle", scans, tmp_path / "out"), known, config, scans)


def test_logits_are_the_models(tmp_path: Path, scans: Path) -> None:
    """Before the largest is taken: transforms and inferer of the configuration give the model's own to 1e-5."""
    for number, name in enumerate(NETWORKS):
        known, config, bundle = model(name), site(tmp_path, scans), tmp_path / str(number)
        export_bundle(known, config, bundle)
        parser = ConfigParser()
        parser.read_config(bundle / "configs" / "inference.json")
        parser["bundle_root"], parser["dataset_dir"], parser["device"] = str(bundle), str(scans), "cpu"
        network = parser.get_parsed_content("network_def").eval()
        network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
        image = parser.get_parsed_content("preprocessing")({"image": str(scans / "Case01.nii")})["image"]
        with torch.no_grad():
            logits = parser.get_parsed_content("inferer")(image[None], network)[0].as_tensor()
        placed, pieces = Segmenter(known, config, scans).read(1)
        wanted = in_order(pieces.logits(known.build(), known.batch_size)).movedim(0, 1)  # [classes, K, H, W]
        found = logits.movedim(placed.axis + 1, 1) if known.plan.patch_size is None else logits
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_scan_of_another_size_is_brought_to_the_models(tmp_path: Path, scans: Path) -> None:
    """Without `spatial_size` the model's own size counts, where flare_mri.apply refuses other sizes."""
    known = model("own", spatial_size=(20, 27))
    config = site(tmp_path, scans, size="null")
    export_bundle(known, config, tmp_path / "bundle")
    assert_same(run_bundle(tmp_path / "bundle", scans, tmp_path / "out"), known, config, scans)


@pytest.mark.parametrize("channel", [0, 1])
def test_a_channel_of_files_of_several_images(tmp_path: Path, scans: Path, channel: int) -> None:
    folder = tmp_path / "several"
    folder.mkdir()
    for path in sorted(scans.glob("Case0[0-2].nii*")):
        image: Any = nibabel.load(path)
        values = np.asarray(image.dataobj)
        nibabel.save(
            nibabel.Nifti1Image(np.stack([values, values[::-1] ** 2 % 991], -1), image.affine), folder / path.name
        )
    (folder / "datalist.json").write_text(json.dumps({"test": ["Case01.nii"]}))
    path = tmp_path / "site.yaml"
    path.write_text(f"data: {{format: decathlon, root: {folder}, spatial_size: [24, 32], channel: {channel}}}\n")
    known, config = model("own"), load_site_config(path, "saint-mary")
    export_bundle(known, config, tmp_path / "bundle")
    assert_same(run_bundle(tmp_path / "bundle", folder, tmp_path / "out"), known, config, folder)


def test_metadata_has_what_monai_asks_for(tmp_path: Path, scans: Path) -> None:
    for number, name in enumerate(NETWORKS):
        export_bundle(model(name), site(tmp_path, scans), tmp_path / str(number))
        configs = tmp_path / str(number) / "configs"
        told = json.loads((configs / "metadata.json").read_text())
        assert {key: type(told[key]) for key in REQUIRED} == REQUIRED
        assert told["schema"].startswith("https://github.com/Project-MONAI/MONAI-extra-test-data/releases/")
        formats = told["network_data_format"]
        for tensor in (formats["inputs"]["image"], formats["outputs"]["pred"]):
            assert {key: type(tensor[key]) for key in TENSOR} == TENSOR
            assert len(tensor["channel_def"]) == tensor["num_channels"]
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


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"task": "reconstruction"}, "task: expected a model of segmentation, got one of reconstruction"),
        ({"experts": ("a", "b")}, "experts: expected one plain network, got a routed one over 2 models"),
        ({"orientations": ("RAS", "LAS")}, "orientations: expected volumes of one orientation, got RAS, LAS"),
        ({"spatial_size": (32, 32)}, r"expected slices of \[32, 32\], which the model was made with, got \[24, 32\]"),
        ({"network": NETWORKS["MONAI"]}, "the model is another network's"),
        (
            {"network": {"path": "monai.networks.nets.UNet", "args": {"norm": ["batch", {"_target_": "os.system"}]}}},
            "network args: expected names such as channels, got '_target_'",
        ),
    ],
)
def test_what_is_no_bundle_is_refused_in_one_line(tmp_path: Path, scans: Path, changed: Any, told: str) -> None:
    with pytest.raises(InputError, match=f"site '?saint-mary'?.*{told}") as caught:
        export_bundle(model("own", **changed), site(tmp_path, scans), tmp_path / "bundle")
    assert "\n" not in str(caught.value) and not (tmp_path / "bundle").exists()


def test_settings_that_do_not_fit_are_refused(tmp_path: Path, scans: Path) -> None:
    config = site(tmp_path, scans)
    part = config.model_copy(update={"data": config.data.model_copy(update={"slices": SliceRange(start=1)})})
    with pytest.raises(InputError, match="data.slices: expected all slices"):
        export_bundle(model("own"), part, tmp_path / "bundle")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "file").write_text("")
    with pytest.raises(InputError, match="expected an empty folder, or none, got one that holds something"):
        export_bundle(model("own"), config, tmp_path / "bundle")
    with pytest.raises(InputError, match="expected a folder for the bundle, got a file"):
        export_bundle(model("own"), config, tmp_path / "bundle" / "file")


def test_the_model_of_an_outside_hospital_is_a_bundle(tmp_path: Path, scans: Path) -> None:
    """The default strategy mixes the models of others into one plain network."""
    known = [model("own", state=build_network(NETWORKS["own"], seed).state_dict()).state for seed in range(3)]
    experts = dict(zip(("site-1", "site-2", GLOBAL), known, strict=True))
    space = RoutingSpace(NETWORKS["own"], experts, SegmentationPlan(organs=ORGANS))
    config = site(tmp_path, scans)
    made = make_model(space, config, scans, AdaptationSettings(), tmp_path / "made")
    export_bundle(made, config, tmp_path / "bundle")
    assert_same(run_bundle(tmp_path / "bundle", scans, tmp_path / "out"), made, config, scans)


def test_command(tmp_path: Path, scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line that it prints runs the bundle."""
    known, config, bundle = model("MONAI"), site(tmp_path, scans), tmp_path / "bundle"
    store = SiteStore(tmp_path / "store", known.job, known.site)
    store.save_model(PERSONAL_FILE, known.state, known.description())
    words = [str(store.path(PERSONAL_FILE)), "--site", str(tmp_path / "site.yaml"), "--out", str(bundle)]
    assert main(words) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"Bundle of UNet (liver, kidney), which needs MONAI alone: {bundle}"
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"error: {bundle}: expected an empty folder")
    line = second.replace("SCANS", str(scans)).replace("RESULTS", str(tmp_path / "out")).split()
    done = subprocess.run([sys.executable, *line[1:]], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same({path.name: nibabel.load(path) for path in sorted((tmp_path / "out").iterdir())}, known, config, scans)
