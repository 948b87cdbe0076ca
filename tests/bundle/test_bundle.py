# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle marks every voxel as the model itself does, and says what MONAI asks for and nothing private."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from bundles import NETWORKS, ORGANS, model, run_bundle, site
from flare_mri.bundle import export_bundle
from flare_mri.config.data import SliceRange
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.datasets.pieces import in_order
from flare_mri.errors import InputError
from flare_mri.export import main
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel, load_personal_model
from flare_mri.inference.segmentation import Segmenter
from flare_mri.networks import build_network
from flare_mri.route import main as route
from flare_mri.routing.space import GLOBAL, RoutingSpace, save_routing_space
from flare_mri.training import SiteStore


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
        ("own", ", inverted: true", {}),
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
    """Without `spatial_size` the model's own size counts, where flare-mri segment refuses other sizes."""
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


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"task": "reconstruction"}, "data.format: expected one of .* for a reconstruction job, got .prostate."),
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
    save_routing_space(tmp_path / "space.safetensors", space)
    words = ["--site", str(tmp_path / "site.yaml"), "--scans", str(scans), "--out", str(tmp_path / "made")]
    assert route([str(tmp_path / "space.safetensors"), *words]) == 0
    made = load_personal_model(tmp_path / "made" / PERSONAL_FILE)
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
