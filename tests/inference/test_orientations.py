# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Any orientation in, the same out: results do not depend on the order in which a scan's voxels are stored."""

import gzip
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.inference.reconstruction import Reconstructor
from flare_mri.inference.segmentation import Segmenter
from flare_mri.io.dicom import write_dicom_slice
from flare_mri.networks import build_network
from flare_mri.reconstruct import main
from flare_mri.training import SiteStore

ORIENTATIONS = ["".join(codes) for order in permutations(("RL", "AP", "SI")) for codes in product(*order)]
SOME = ["LPS", "PIR", "SLA", "ASL", "IPR", "RSA"]
SHAPE = (20, 27, 7)  # odd and even
RECONSTRUCTION: dict[str, Any] = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4, "num_pools": 2}}
SEGMENTATION: dict[str, Any] = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {"in_channels": 3, "out_channels": 2, "norm": "batch", "channels": 4, "num_pools": 2},
}
TASKS = {"reconstruction": ("nifti", RECONSTRUCTION), "segmentation": ("prostate", SEGMENTATION)}


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def turned_by(degrees: float) -> np.ndarray:
    """An affine in mm whose axes are rotated about two of the patient's, with unequal voxels."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_z = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([0.7, 0.6, 2.5])
    affine[:3, 3] = [30, -20, 7]
    return affine


def canonical(degrees: float, shape: tuple[int, ...] = SHAPE) -> nibabel.Nifti1Image:
    """A scan stored as RAS, the same from no two sides."""
    values = (1000 * np.random.default_rng(0).random(shape)).astype(np.int16) + 1
    return nibabel.Nifti1Image(values, turned_by(degrees))


def store(scan: nibabel.Nifti1Image, codes: str, folder: Path) -> tuple[nibabel.Nifti1Image, np.ndarray]:
    """Writes the scan as these axis codes have it; also what turns a canonical volume so."""
    turn = ornt_transform(io_orientation(scan.affine), axcodes2ornt(codes))
    voxels = np.ascontiguousarray(apply_orientation(np.asarray(scan.dataobj), turn))
    turned = nibabel.Nifti1Image(voxels, scan.affine @ inv_ornt_aff(turn, scan.shape))
    folder.mkdir(exist_ok=True)
    nibabel.save(turned, folder / "Case00.nii.gz")
    return turned, turn


def settings(folder: Path, task: str, size: tuple[int, int], axis: int = 2, more: str = "") -> SiteConfig:
    data = f"format: {TASKS[task][0]}, root: {folder}, spatial_size: {list(size)}, slice_axis: {axis}{more}"
    path = folder.parent / "site.yaml"
    mask = "mask: {kind: gaussian, acceleration: 2}\n" if task == "reconstruction" else ""
    path.write_text(f"data: {{{data}}}\n{mask}")
    return load_site_config(path, "site-1")


def model(task: str, size: tuple[int, int], axis: int | None = 2, codes: str = "RAS") -> PersonalModel:
    spec = TASKS[task][1]
    return PersonalModel("job", "site-1", task, spec, build_network(spec, 8).state_dict(), size, (codes,), axis)


def result_of(known: PersonalModel, config: SiteConfig) -> Any:
    application = (Segmenter if known.task == "segmentation" else Reconstructor)(known, config)
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(application.apply(0).content))


def assert_same(result: Any, scan: Any, turn: np.ndarray, expected: Any, task: str) -> None:
    """The result has the scan's voxels and place, and is what the canonical scan got, turned as the scan was."""
    assert result.shape == scan.shape
    np.testing.assert_allclose(result.affine, scan.affine, atol=1e-5)
    wanted = apply_orientation(np.asarray(expected.dataobj), turn)
    found = np.asarray(result.dataobj)
    assert np.ptp(found) > 0
    if task == "segmentation":
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * wanted.max())


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("task", TASKS)
def test_all_48_orders_of_a_slanted_scan(tmp_path: Path, task: str, codes: str) -> None:
    scan, new = canonical(18), tmp_path / "new"
    store(scan, "RAS", new)
    size = (20, 24) if task == "reconstruction" else (24, 32)
    config = settings(new, task, size)
    expected = result_of(model(task, size), config)
    turned, turn = store(scan, codes, new)
    assert "".join(nibabel.aff2axcodes(turned.affine)) == codes
    assert_same(result_of(model(task, size), config), turned, turn, expected, task)


@pytest.mark.parametrize("codes", SOME)
@pytest.mark.parametrize("known", ["RAS", "PIR", "SLA"])
@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_knows_another_orientation(tmp_path: Path, task: str, known: str, codes: str) -> None:
    """The model's orientation and slice axis count, whatever the settings are by now."""
    scan, new = canonical(-25, (12, 14, 16)), tmp_path / "new"
    mine = model(task, (16, 16), 1, known)
    store(scan, "RAS", new)
    config = settings(new, task, (16, 16), axis=0, more=", orientation: LPS")
    expected = result_of(mine, config)
    turned, turn = store(scan, codes, new)
    assert_same(result_of(mine, config), turned, turn, expected, task)


@pytest.mark.parametrize("codes", SOME)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_labels_of_scaled_slices(tmp_path: Path, axis: int, codes: str) -> None:
    """`fit: resize` interpolates on the way in: mirrored scans round alike but for single pixels at the border."""
    scan, new = canonical(10), tmp_path / "new"
    store(scan, "RAS", new)
    config = settings(new, "segmentation", (32, 32), axis, ", fit: resize")
    expected = result_of(model("segmentation", (32, 32), axis), config)
    turned, turn = store(scan, codes, new)
    result = result_of(model("segmentation", (32, 32), axis), config)
    assert result.shape == turned.shape
    np.testing.assert_allclose(result.affine, turned.affine, atol=1e-5)
    wanted = apply_orientation(np.asarray(expected.dataobj), turn)
    assert wanted.any() and (np.asarray(result.dataobj) != wanted).mean() < 0.01


@pytest.mark.parametrize("codes", SOME)
@pytest.mark.parametrize("task", TASKS)
def test_scans_that_are_resampled(tmp_path: Path, task: str, codes: str) -> None:
    """To other voxels on the way in, and on the way out to the scan's own, of its own number."""
    scan, new = canonical(0), tmp_path / "new"
    store(scan, "RAS", new)
    size = (16, 16) if task == "reconstruction" else (24, 24)
    config = settings(new, task, size, more=", spacing: [0.8, 0.8, 2.5]")
    expected = result_of(model(task, size), config)
    turned, turn = store(scan, codes, new)
    result = result_of(model(task, size), config)
    assert result.shape == turned.shape == tuple(expected.shape[int(a)] for a in np.argsort(turn[:, 0]))
    np.testing.assert_allclose(result.affine, turned.affine, atol=1e-5)
    wanted, found = apply_orientation(np.asarray(expected.dataobj), turn), np.asarray(result.dataobj)
    if task == "segmentation":
        assert wanted.any() and (found != wanted).mean() < 0.01
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * wanted.max())


PLANES = {
    "axial": ([1, 0, 0, 0, 1, 0], [0, 0, 3]),
    "sagittal": ([0, 1, 0, 0, 0, -1], [-3, 0, 0]),
    "coronal": ([1, 0, 0, 0, 0, -1], [0, 3, 0]),
    "slanted": ([0.8, 0.6, 0, 0, 0, -1], [-1.8, 2.4, 0]),
}


@pytest.mark.parametrize("plane", PLANES)
def test_every_pixel_of_a_dicom_series_keeps_its_place(tmp_path: Path, plane: str) -> None:
    """By the command: one bright pixel of one slice lies in the result where its tags put it."""
    cosines, step = PLANES[plane]
    row, column, number = 20, 9, 3
    pixels = np.full((6, 32, 32), 100)
    pixels[number, row, column] = 4000
    folder = tmp_path / "new" / "series"
    folder.mkdir(parents=True)
    for index in range(6):
        place = [10.0, -40.0, 60.0] + np.multiply(step, index)
        tags = {"ImageOrientationPatient": cosines, "ImagePositionPatient": list(place), "PixelSpacing": [2, 1]}
        write_dicom_slice(folder / f"{index}.dcm", pixels[index], **tags)
    site = tmp_path / "site.yaml"
    site.write_text(f"data: {{format: dicom, root: {tmp_path / 'new'}}}\nmask: {{kind: gaussian, acceleration: 2}}\n")
    mine = replace(model("reconstruction", (32, 32)), orientations=(), slice_axis=None)
    kept = SiteStore(tmp_path / "store", mine.job, mine.site)
    kept.save_model(PERSONAL_FILE, mine.state, mine.description())
    words = [str(kept.path(PERSONAL_FILE)), "--site", str(site), "--out", str(tmp_path / "out"), "--undersampled"]
    assert main(words) == 0
    (path,) = (tmp_path / "out").glob("*_reconstruction.nii.gz")
    image: Any = nibabel.load(path)
    lps = np.array([10.0, -40.0, 60.0]) + np.multiply(step, number)
    lps += 1 * column * np.array(cosines[:3]) + 2 * row * np.array(cosines[3:])
    at = np.linalg.inv(image.affine) @ [-lps[0], -lps[1], lps[2], 1]
    voxel = tuple(np.round(at[:3]).astype(int))
    np.testing.assert_allclose(at[:3], voxel, atol=1e-3)
    assert sorted(image.shape) == [6, 32, 32]
    values = image.get_fdata()
    place = np.delete(np.arange(3), image.shape.index(6))
    others = np.ptp(values, axis=tuple(place))  # of each slice: only the bright pixel's is not flat
    assert int(others.argmax()) == voxel[image.shape.index(6)] == number
    distance = np.abs(values[..., number] - np.median(values[..., number]))
    assert np.abs(np.argwhere(distance == distance.max())[0] - np.array(voxel[:2])).max() <= 4  # within a kernel
