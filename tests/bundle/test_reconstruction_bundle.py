# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle of reconstruction gives the images of flare-mri reconstruct, and begins a job as any bundle does."""

import gzip
import json
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

from bundles import run_bundle
from flare_mri.bundle import export_bundle
from flare_mri.bundle.weights import load_initial_weights
from flare_mri.config.site import SiteConfig
from flare_mri.errors import InputError
from flare_mri.export import main
from flare_mri.inference.application import Wanted
from flare_mri.inference.opening import open_application
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel, load_personal_model
from flare_mri.io.raw.samples import make_header, sample_scan, write_fastmri_raw, write_raw_samples
from flare_mri.networks import SharedPart, build_network
from flare_mri.training import SiteStore
from metadata_schema import assert_fits_schema
from reconstruction_bundles import NETWORKS, ONE_COIL, model, site


@pytest.fixture
def raw_scans(tmp_path: Path) -> Path:
    """A scan in each format."""
    write_raw_samples(tmp_path / "new", np.random.default_rng(0))
    (tmp_path / "new" / "notes.txt").write_text("no scan")
    return tmp_path / "new"


def assert_same(found: dict[str, Any], known: PersonalModel, config: SiteConfig, scans: Path) -> None:
    """The files of a bundle are those of flare-mri reconstruct for undersampled scans."""
    reconstructor = open_application(known, config, scans, Wanted(undersampled=True))
    assert [name.removesuffix(reconstructor.ending) for name in found] == reconstructor.names
    for number, image in enumerate(found.values()):
        wanted = nibabel.Nifti1Image.from_bytes(gzip.decompress(reconstructor.apply(number).content))
        values = np.asarray(wanted.dataobj)
        assert image.shape == wanted.shape and image.get_data_dtype() == np.float32 and values.std() > 0
        np.testing.assert_array_equal(image.affine, wanted.affine)
        np.testing.assert_allclose(np.asarray(image.dataobj), values, rtol=1e-5, atol=1e-5 * values.max())


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in (*ONE_COIL, "variational")])
def test_images_are_the_models(tmp_path: Path, raw_scans: Path, name: str) -> None:
    """Of all three raw formats; the fully sampled scan is taken as it is."""
    known, config = model(name), site(tmp_path)
    export_bundle(known, config, tmp_path / "bundle")
    found = run_bundle(tmp_path / "bundle", raw_scans, tmp_path / "out")
    assert len(found) == 4
    assert_same(found, known, config, raw_scans)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "out").iterdir())
    files = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(RuntimeError):  # as flare-mri reconstruct, it writes over nothing
        run_bundle(tmp_path / "bundle", raw_scans, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files


@pytest.mark.parametrize(
    ("name", "coils", "slices"), [("dual-domain", 1, 3), ("variational", 3, 5), ("unrolled", 3, 1)]
)
def test_scans_of_fastmris_test_layout(tmp_path: Path, name: str, coils: int, slices: int) -> None:
    """More slices than a batch, a single one, and ESPIRiT's sensitivities; every file with a mask of its own."""
    scan = sample_scan(np.random.default_rng(1), (slices, 48, 40), coils=coils)
    (tmp_path / "new").mkdir()
    for number, step in enumerate((2, 3)):
        lines = np.isin(np.arange(40), [*range(1, 39, step), *range(15, 25)])
        header = make_header((48, 40), slices=slices)
        write_fastmri_raw(tmp_path / "new" / f"scan.{number}.h5", scan.kspace * lines, mask=lines, header=header)
    known = model(name)
    config = site(tmp_path, "{format: fastmri, root: data, simulate: false, sensitivities: espirit}")
    export_bundle(known, config, tmp_path / "bundle")
    assert_same(run_bundle(tmp_path / "bundle", tmp_path / "new", tmp_path / "out"), known, config, tmp_path / "new")


def test_metadata_says_what_the_network_takes(tmp_path: Path) -> None:
    for number, name in enumerate(NETWORKS):
        export_bundle(model(name), site(tmp_path), tmp_path / str(number))
        configs = tmp_path / str(number) / "configs"
        told = json.loads((configs / "metadata.json").read_text())
        keys = getattr(build_network(NETWORKS[name], 0), "sample_keys", ("image",))
        assert tuple(told["network_data_format"]["inputs"]) == keys
        assert "flare-mri" in told["required_packages_version"]
        assert_fits_schema(configs / "metadata.json", tmp_path)
        if keys == ("image",):  # MONAI's check knows networks of one image
            metadata, config = str(configs / "metadata.json"), str(configs / "inference.json")
            monai.bundle.verify_net_in_out("network_def", metadata, config, device="cpu", p=1, n=1)
        workflow = monai.bundle.ConfigWorkflow(
            str(configs / "inference.json"),
            workflow_type="infer",
            bundle_root=str(configs.parent),
            dataset_dir=str(tmp_path),
        )
        workflow.initialize()
        assert workflow.check_properties() == []
        files = [path.read_bytes() for path in configs.parent.rglob("*") if path.is_file()]
        assert not any(word in file for file in files for word in (b"saint-mary", b"study-7", str(tmp_path).encode()))


@pytest.mark.parametrize(
    ("data", "changed", "told"),
    [
        ("{format: nifti, root: data}", {}, "data.format: expected that of raw scans, .* got nifti, whose images"),
        (None, {"acquisition": None}, "acquisition: expected a model that says from which scans it learned"),
    ],
)
def test_what_is_no_bundle_is_refused_in_one_line(tmp_path: Path, data: str | None, changed: Any, told: str) -> None:
    config = site(tmp_path, data) if data else site(tmp_path)
    with pytest.raises(InputError, match=f"site '?saint-mary'?.*{told}") as caught:
        export_bundle(model("unrolled", **changed), config, tmp_path / "bundle")
    assert "\n" not in str(caught.value) and not (tmp_path / "bundle").exists()


def test_a_job_begins_with_its_weights(tmp_path: Path) -> None:
    """FedMRI's shared part of the unrolled network, from both files of the bundle."""
    known, named = model("unrolled"), model("unrolled")
    assert named.acquisition is not None
    named = replace(named, acquisition=replace(named.acquisition, contrasts=("t2 of Dr Miller",)))
    export_bundle(named, site(tmp_path), tmp_path / "bundle")
    assert not any(b"Miller" in path.read_bytes() for path in (tmp_path / "bundle").rglob("*") if path.is_file())
    expected = SharedPart(NETWORKS["unrolled"], "encoder").state_dict()
    for file in ("model.pt", "model.safetensors"):
        given = load_initial_weights(tmp_path / "bundle" / "models" / file, expected)
        assert given.keys() == expected.keys() and all(key.startswith("encoder.") for key in given)
        assert all(torch.equal(given[key], known.state[key]) for key in given)
    again = load_personal_model(tmp_path / "bundle" / "models" / "model.safetensors")
    assert again.acquisition == known.acquisition and again.task == "reconstruction"


def test_command(tmp_path: Path, raw_scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line that it prints runs the bundle."""
    known, config, bundle = model("unrolled"), site(tmp_path), tmp_path / "bundle"
    store = SiteStore(tmp_path / "store", known.job, known.site)
    store.save_model(PERSONAL_FILE, known.state, known.description())
    words = [str(store.path(PERSONAL_FILE)), "--site", str(tmp_path / "site.yaml"), "--out", str(bundle)]
    assert main([*words, "--torch_export"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    needs = "which needs this package and MONAI"
    assert first == f"Bundle of UnrolledNetwork (reconstruction of raw scans), {needs}: {bundle}"
    assert (bundle / "models" / "model.pt2").stat().st_mode & 0o777 == 0o600
    line = second.replace("SCANS", str(raw_scans)).replace("RESULTS", str(tmp_path / "out")).split()
    done = subprocess.run([sys.executable, *line[1:]], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {path.name: nibabel.load(path) for path in sorted((tmp_path / "out").iterdir())}
    assert_same(found, known, config, raw_scans)
