# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reconstructions of new scans: those the site's own task would make and score."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from flare_mri.apply import main, open_application
from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.errors import InputError
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.inference.reconstruction import Reconstructor
from flare_mri.networks import build_network
from flare_mri.training import SiteStore
from flare_mri.training.reconstruction import ReconstructionTask
from flare_mri.transforms.kspace import undersample
from flare_mri.transforms.masks import make_mask

UNET: dict[str, Any] = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4, "num_pools": 2}}
DUAL: dict[str, Any] = {
    "path": "flare_mri.networks.dual_domain.DualDomainUNet",
    "args": {"channels": 4, "num_pools": 2},
}
SETTINGS = "data: {{format: fastmri, root: {root}}}\nsplit: {{train: 0.5, validation: 0, test: 0.5, by: slice}}\n"


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def scans(folder: Path, count: int = 2) -> Path:
    folder.mkdir()
    for number in range(count):
        with h5py.File(folder / f"file{number}.h5", "w") as file:
            file["reconstruction_rss"] = np.random.default_rng(number).random((6, 32, 32), np.float32)
    return folder


def settings(tmp_path: Path, root: Path) -> SiteConfig:
    (tmp_path / "site.yaml").write_text(SETTINGS.format(root=root))
    return load_site_config(tmp_path / "site.yaml", "site-1")


def model(spec: dict[str, Any] = UNET) -> PersonalModel:
    return PersonalModel("fedmri", "site-1", "reconstruction", spec, build_network(spec, 3).state_dict(), (32, 32))


def images_in(content: bytes) -> dict[str, np.ndarray]:
    with h5py.File(io.BytesIO(content)) as file:
        return {name: np.asarray(file[name]) for name in file}


@pytest.mark.parametrize("spec", [UNET, DUAL], ids=["image", "dual"])
def test_images_and_scores_are_those_of_the_sites_own_task(tmp_path: Path, spec: dict[str, Any]) -> None:
    config = settings(tmp_path, scans(tmp_path / "scans", count=1))
    data = ReconstructionData(config, 0, keys=("kspace", "mask") if spec is DUAL else ("input",))
    data.test.indices = [(0, index) for index in range(6)]  # the whole volume
    task = ReconstructionTask(data, config, torch.device("cpu"))
    network = model(spec).build()
    result = Reconstructor(model(spec), config).apply(0)
    with h5py.File(io.BytesIO(result.content)) as file:
        assert dict(file.attrs)["model"] == "fedmri, site-1" and "equispaced 4.0" in dict(file.attrs)["mask"]
    assert result.scores == pytest.approx(task.evaluate(network, "test"))
    images = images_in(result.content)
    assert images.keys() == {"reconstruction", "zero_filled"} and images["reconstruction"].shape == (6, 32, 32)
    shown = task.examples(network)
    for place, index in enumerate(shown["slice"]):
        np.testing.assert_allclose(images["reconstruction"][index], shown["output"][place], atol=1e-5)
        np.testing.assert_allclose(images["zero_filled"][index], shown["input"][place], atol=1e-5)


def test_a_scan_that_is_undersampled_gives_the_same_image(tmp_path: Path) -> None:
    """k-space with zeros where nothing was measured, as in fastMRI's test sets, and nothing to score."""
    config = settings(tmp_path, scans(tmp_path / "scans", count=1))
    full = Reconstructor(model(), config).apply(0)
    with h5py.File(tmp_path / "scans" / "file0.h5") as file:
        images = torch.from_numpy(np.asarray(file["reconstruction_rss"]))
    mask = torch.from_numpy(make_mask(config.mask, (32, 32)))
    (tmp_path / "new").mkdir()
    with h5py.File(tmp_path / "new" / "measured.h5", "w") as file:
        file["kspace"] = undersample(images, mask)[1].numpy()
    result = Reconstructor(model(), config, tmp_path / "new", undersampled=True).apply(0)
    assert not result.scores and "PSNR" not in result.text and "target" not in result.pictures
    for name, image in images_in(full.content).items():
        np.testing.assert_allclose(images_in(result.content)[name], image, atol=1e-5)


def test_scans_of_another_size(tmp_path: Path) -> None:
    config = settings(tmp_path, scans(tmp_path / "scans"))
    with pytest.raises(InputError, match=r"file0\.h5: expected slices of \[48, 32\], .* got \[32, 32\]"):
        Reconstructor(replace(model(), spatial_size=(48, 32)), config).apply(0)


def test_undersampled_scans_and_a_network_that_wants_kspace(tmp_path: Path) -> None:
    config = settings(tmp_path, scans(tmp_path / "scans"))
    with pytest.raises(InputError, match="site 'site-1': undersampled: expected a network that works on images"):
        open_application(model(DUAL), config, None, undersampled=True)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, mine, out = scans(tmp_path / "scans"), model(), tmp_path / "out"
    settings(tmp_path, folder)
    store = SiteStore(tmp_path / "store", mine.job, mine.site)
    store.save_model(PERSONAL_FILE, mine.state, mine.description())
    words = [str(store.path(PERSONAL_FILE)), "--site", str(tmp_path / "site.yaml"), "--out", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "reconstruction: fedmri's model of site-1; 2 scans"
    assert printed[1].startswith("file0.h5: 6 slices, PSNR ") and printed[-2].startswith("mean: PSNR ")
    assert {path.name for path in out.iterdir()} == {"file0.h5", "file1.h5", "overview.png"}
    assert (out / "overview.png").read_bytes().startswith(b"\x89PNG")
