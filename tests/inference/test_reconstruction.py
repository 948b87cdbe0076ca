# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reconstructions of new scans: those the site's own task would make and score."""

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.errors import InputError
from flare_mri.inference.application import Wanted
from flare_mri.inference.opening import open_application
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.inference.reconstruction import Reconstructor
from flare_mri.io.dicom import write_dicom_slice
from flare_mri.networks import build_network
from flare_mri.reconstruct import main
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


def image_in(content: bytes) -> Any:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(content))


def slices_in(content: bytes) -> np.ndarray:
    """[S, H, W]"""
    return np.moveaxis(np.asarray(image_in(content).dataobj), -1, 0)


@pytest.mark.parametrize("spec", [UNET, DUAL], ids=["image", "dual"])
def test_images_and_scores_are_those_of_the_sites_own_task(tmp_path: Path, spec: dict[str, Any]) -> None:
    config = settings(tmp_path, scans(tmp_path / "scans", count=1))
    data = ReconstructionData(config, 0, keys=("kspace", "mask") if spec is DUAL else ("image",))
    data.test.indices = [(0, index) for index in range(6)]  # the whole volume
    data.test.highest = {0: max(float(data.test.volumes[0][index].max()) for index in range(6))}
    task = ReconstructionTask(data, config, torch.device("cpu"))
    network = model(spec).build()
    result = Reconstructor(model(spec), config).apply(0)
    assert result.scores == pytest.approx(task.evaluate(network, "test"))
    images = slices_in(result.content)
    shown = task.examples(network)
    for place, index in enumerate(shown["slice"]):
        np.testing.assert_allclose(images[index], shown["output"][place], atol=1e-5)
    assert "does not say where it lies" in result.text


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
    result = open_application(model(), config, tmp_path / "new").apply(0)
    assert not result.scores and "PSNR" not in result.text and "target" not in result.pictures
    np.testing.assert_allclose(slices_in(result.content), slices_in(full.content), atol=1e-5)


def test_scans_of_another_size(tmp_path: Path) -> None:
    config = settings(tmp_path, scans(tmp_path / "scans"))
    with pytest.raises(InputError, match=r"file0\.h5: expected slices of \[48, 32\], .* got \[32, 32\]"):
        Reconstructor(replace(model(), spatial_size=(48, 32)), config).apply(0)


def test_undersampled_scans_and_a_network_that_wants_kspace(tmp_path: Path) -> None:
    config = settings(tmp_path, scans(tmp_path / "scans"))
    with pytest.raises(InputError, match="site 'site-1': undersampled: expected a network that works on images"):
        open_application(model(DUAL), config, None, Wanted(undersampled=True))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, mine, out = scans(tmp_path / "scans"), model(), tmp_path / "out"
    settings(tmp_path, folder)
    store = SiteStore(tmp_path / "store", mine.job, mine.site)
    store.save_model(PERSONAL_FILE, mine.state, mine.description())
    words = [str(store.path(PERSONAL_FILE)), "--site", str(tmp_path / "site.yaml"), "--out", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "reconstruction: fedmri's model of site-1; 2 scans"
    assert printed[1].startswith("2 of them in the data of site.yaml")
    assert (
        printed[2].startswith("file0_reconstruction.nii.gz: 6 slices; the scan does not say")
        and "PSNR" in printed[2]
        and printed[-2].startswith("mean: PSNR ")
    )
    assert {path.name for path in out.iterdir()} == {
        "file0_reconstruction.nii.gz",
        "file1_reconstruction.nii.gz",
        "overview.png",
    }
    assert (out / "overview.png").read_bytes().startswith(b"\x89PNG")


AFFINE = np.array([[-0.7, 0, 0.1, 30], [0, 0.6, 0, -20], [0, 0.1, 2.5, 7], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA", "ASL", "IPR"])
def test_a_nifti_scan_of_any_orientation_gets_the_same_image_on_its_own_voxels(tmp_path: Path, codes: str) -> None:
    """At another resolution than the scan's: k-space is cropped on the way in and zero-padded on the way out."""
    smooth = np.random.default_rng(0).random((8, 8, 5)).repeat(6, 0).repeat(5, 1).astype(np.float32) + 1
    (tmp_path / "new").mkdir()
    scan = nibabel.Nifti1Image(smooth, AFFINE)
    text = f"data: {{format: nifti, root: {tmp_path / 'new'}, spatial_size: [32, 32]}}\n"
    (tmp_path / "site.yaml").write_text(text + "mask: {kind: gaussian, acceleration: 2}\n")
    config, known = load_site_config(tmp_path / "site.yaml", "site-1"), replace(model(), orientations=("RAS",))
    nibabel.save(scan, tmp_path / "new" / "a.nii.gz")
    expected = image_in(Reconstructor(known, config).apply(0).content)
    assert expected.shape == (48, 40, 5)
    turn = ornt_transform(io_orientation(scan.affine), axcodes2ornt(codes))
    turned = scan.as_reoriented(turn)
    nibabel.save(turned, tmp_path / "new" / "a.nii.gz")
    image = image_in(Reconstructor(known, config).apply(0).content)
    assert image.shape == turned.shape
    np.testing.assert_allclose(image.affine, turned.affine, atol=1e-4)
    np.testing.assert_allclose(image.get_fdata(), expected.as_reoriented(turn).get_fdata(), atol=1e-5)


@pytest.mark.filterwarnings("error:inverse has been called")  # by MONAI, where a pipeline has changed nothing
def test_a_dicom_series_gets_a_nifti_at_its_place(tmp_path: Path) -> None:
    """Sagittal, with a network that gives back its input: the image lies where the pixels' positions say."""
    pixels = np.random.default_rng(0).integers(500, 4000, (6, 32, 32))
    for number in range(6):
        place = [10.0 - 3 * number, -40.0, 60.0]
        tags = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImagePositionPatient": place, "PixelSpacing": [2, 1]}
        folder = tmp_path / "new" / "t1"
        folder.mkdir(parents=True, exist_ok=True)
        write_dicom_slice(folder / f"{number}.dcm", pixels[number], **tags)
    (tmp_path / "site.yaml").write_text(f"data: {{format: dicom, root: {tmp_path / 'new'}}}\n")
    result = Reconstructor(model(), load_site_config(tmp_path / "site.yaml", "site-1")).apply(0)
    image = image_in(result.content)
    i, j, k = 4, 9, 2  # row, column, slice
    lps = np.array([10.0 - 3 * k, -40.0 + j, 60.0 - 2 * i])
    np.testing.assert_allclose(image.affine @ [i, j, k, 1], [-lps[0], -lps[1], lps[2], 1], atol=1e-4)
    assert image.shape == (32, 32, 6) and "does not say" not in result.text
