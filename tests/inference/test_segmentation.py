# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Labels of new scans: those the site's own task would predict, on the scan's own voxels."""

import gzip
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from flare_mri.bundle.export import export_bundle
from flare_mri.config.segmentation import SegmentationPlan
from flare_mri.config.site import load_site_config
from flare_mri.datasets.organ_sizes import OrganSizes
from flare_mri.datasets.pieces import in_order, run_batches
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.errors import InputError
from flare_mri.inference.application import Result
from flare_mri.inference.opening import open_application
from flare_mri.inference.personal_model import PersonalModel, load_personal_model
from flare_mri.inference.segmentation import Segmenter
from flare_mri.networks import build_network
from flare_mri.routing.statistics import with_site_statistics
from segmentation_model import AFFINE, SETTINGS, SPEC, plain, routed, scans, settings, written


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def axcodes2ornt_between(affine: np.ndarray, codes: str) -> np.ndarray:
    """Orientation transform from a volume of this affine to these axis codes."""
    return ornt_transform(io_orientation(affine), axcodes2ornt(codes))


def labels_in(content: bytes, kind: Any = nibabel.Nifti1Image) -> Any:
    return kind.from_bytes(gzip.decompress(content))


@pytest.mark.parametrize("make", [plain, routed])
@pytest.mark.parametrize(("axis", "fit"), [(2, "pad"), (0, "resize")])
def test_labels_are_those_of_the_sites_own_data_set(tmp_path: Path, make: Any, axis: int, fit: str) -> None:
    config = settings(tmp_path, scans(tmp_path / "scans", count=1), axis, fit)
    model = make()
    data = SegmentationData(config, seed=0)  # without labels: all slices are for testing
    items = torch.stack([data.outside[place]["image"] for place in range(len(data.outside))])
    runs = run_batches(model.build(), items, model.batch_size)
    expected = in_order((places, logits.argmax(1)) for places, _, logits in runs).numpy()
    image = labels_in(Segmenter(model, config).apply(0).content)
    assert expected.any() and not expected.all()
    if fit == "pad":  # the scan's 20 x 36 lie in the middle of 32 x 32, its slices along the given axis of RAS
        turned = np.asarray(image.as_reoriented(axcodes2ornt_between(image.affine, "RAS")).dataobj)
        inner = np.moveaxis(turned, axis, 0)[:, :, 2:34]
        np.testing.assert_array_equal(inner, expected[:, 6:26])
    else:
        assert image.shape == (20, 36, 7) and np.asarray(image.dataobj).any()


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_labels_lie_where_the_scan_lies(tmp_path: Path, kind: Any) -> None:
    folder = scans(tmp_path / "scans", kind=kind)
    result = Segmenter(plain(), settings(tmp_path, folder), folder).apply(1)
    image, scan = labels_in(result.content), nibabel.load(folder / "Case01.nii.gz")
    np.testing.assert_allclose(image.affine, scan.affine, atol=1e-6)  # type: ignore[attr-defined]
    assert image.shape == scan.shape and image.get_data_dtype() == np.uint8  # type: ignore[attr-defined]
    assert image.header.get_xyzt_units()[0] == "mm" and set(np.unique(image.dataobj)) <= {0, 1}
    spacing = np.prod(scan.header.get_zooms())  # type: ignore[attr-defined]
    assert f"{np.asarray(image.dataobj).sum() * spacing / 1000:.1f} ml" in result.text


def test_labels_beside_the_scans_are_neither_read_nor_taken_for_scans(tmp_path: Path) -> None:
    folder = scans(tmp_path / "scans")
    alone = Segmenter(plain(), settings(tmp_path, folder), folder)
    contents = [alone.apply(number).content for number in range(2)]
    for number in range(2):
        (folder / f"Case{number:02d}_Segmentation.nii.gz").write_bytes(b"no NIfTI file")
    for where in (folder, None):
        beside = Segmenter(plain(), settings(tmp_path, folder), where)
        assert [beside.apply(number).content for number in range(2)] == contents


def test_the_phantom_and_all_its_slices(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("data: {format: phantom, subjects: 2, spatial_size: [32, 32]}\n")
    config = load_site_config(path, "site-1")
    result = Segmenter(plain(), config).apply(0)
    assert np.asarray(labels_in(result.content).dataobj).shape[:2] == (32, 32) and "ml" not in result.text
    with pytest.raises(InputError, match="phantom takes no folder"):
        open_application(plain(), config, tmp_path)


ORIENTATIONS = ["".join(codes) for order in permutations(("RL", "AP", "SI")) for codes in product(*order)]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_scan_stored_in_another_orientation_gets_the_same_labels(tmp_path: Path, codes: str) -> None:
    """Any orientation in, the same out, on the scan's own voxels."""
    new = scans(tmp_path / "new", count=1)
    config = settings(tmp_path, new)
    scan: Any = nibabel.load(new / "Case00.nii.gz")
    expected = labels_in(Segmenter(plain(), config, new).apply(0).content)
    turn = axcodes2ornt_between(scan.affine, codes)
    turned = scan.as_reoriented(turn)
    nibabel.save(turned, new / "Case00.nii.gz")
    labels = labels_in(Segmenter(plain(), config, new).apply(0).content)
    assert labels.shape == turned.shape and np.asarray(labels.dataobj).any()
    np.testing.assert_allclose(labels.affine, turned.affine, atol=1e-5)
    np.testing.assert_array_equal(labels.dataobj, expected.as_reoriented(turn).dataobj)


def test_the_models_orientation_counts_before_the_settings(tmp_path: Path) -> None:
    """A model of before, whose volumes were not turned, goes on with scans as it knows them."""
    new = scans(tmp_path / "new", count=1)
    known = Segmenter(replace(plain(), orientations=("LAS",)), settings(tmp_path, new), new)
    (tmp_path / "site.yaml").write_text(
        SETTINGS.format(root=new, axis=2, fit="pad").replace("slice_axis", "orientation: null, slice_axis")
    )
    config = load_site_config(tmp_path / "site.yaml", "site-1")
    as_stored = Segmenter(replace(plain(), orientations=()), config, new)
    np.testing.assert_array_equal(known.read(0)[0].slices, as_stored.read(0)[0].slices)
    turned = Segmenter(plain(), settings(tmp_path, new), new)
    assert (turned.read(0)[0].slices != known.read(0)[0].slices).any()
    shown = [one.apply(0).pictures["input"] for one in (known, turned)]
    np.testing.assert_array_equal(*shown)  # upright, however the network takes it


def test_slices_of_another_size(tmp_path: Path) -> None:
    new = scans(tmp_path / "new")
    with pytest.raises(InputError, match=r"Case01\.nii\.gz: expected slices of \[64, 64\], .* got \[32, 32\]"):
        Segmenter(replace(plain(), spatial_size=(64, 64)), settings(tmp_path, new)).apply(1)


def test_a_routed_model_wants_slices_for_its_statistics(tmp_path: Path) -> None:
    folder = scans(tmp_path / "scans", shape=(20, 36, 3))
    config = settings(tmp_path, folder)
    assert Segmenter(plain(), config, folder).apply(0).text.startswith("3 slices")
    with pytest.raises(InputError, match=r"Case00\.nii\.gz: expected at least 4 slices, .* got 3"):
        Segmenter(routed(), config, folder).apply(0)


def apply_to_one(model: PersonalModel, tmp_path: Path) -> Result:
    """Of one scan, by the model as it is read from its file."""
    folder = tmp_path / "scans"
    if not folder.exists():
        scans(folder, count=1)
    return Segmenter(load_personal_model(written(model, tmp_path)), settings(tmp_path, folder), folder).apply(0)


def exported(model: PersonalModel, tmp_path: Path) -> bytes:
    """The model's file in a bundle of it."""
    export_bundle(model, settings(tmp_path, tmp_path / "scans"), tmp_path / "bundle")
    return (tmp_path / "bundle" / "models" / "model.safetensors").read_bytes()


def test_an_organ_of_another_size_than_was_learned_is_told_and_goes_into_no_bundle(tmp_path: Path) -> None:
    model = replace(plain(), organ_sizes=OrganSizes({"organ": (1e4, 2e4)}))
    warnings = apply_to_one(model, tmp_path).warnings
    assert any(warning.endswith("the model learned from 1e+04 to 2e+04 ml") for warning in warnings)
    content = exported(model, tmp_path)
    assert b"batch_size" in content and b"organ_sizes" not in content


def test_of_a_model_that_fails_at_home_nothing_good_is_predicted(tmp_path: Path) -> None:
    good, bad = (replace(plain(), own_dice=dice) for dice in (0.9, 0.02))
    assert apply_to_one(good, tmp_path).predicted_dice == apply_to_one(plain(), tmp_path).predicted_dice
    found = apply_to_one(bad, tmp_path)
    assert found.predicted_dice is not None and found.predicted_dice <= 0.02
    assert any(
        "has Dice 0.02 in the test volumes of the hospitals it learned at" in warning for warning in found.warnings
    )
    assert b"own_dice" not in exported(bad, tmp_path)


def test_every_scan_of_a_hospital_unlike_all_others_is_warned_of(tmp_path: Path) -> None:
    """And no better or worse Dice is predicted; a bundle does not tell of it."""
    near, far = (replace(plain(), distance=distance) for distance in (0.7, 4.3))
    was, found = apply_to_one(plain(), tmp_path), apply_to_one(far, tmp_path)
    assert apply_to_one(near, tmp_path).warnings == was.warnings
    assert found.predicted_dice == was.predicted_dice
    told = "unlike those of the federation's hospitals, 4.3 times as far"
    assert [told in warning for warning in found.warnings].count(True) == 1
    assert b"distance" not in exported(far, tmp_path)


@pytest.mark.parametrize("dims", [2, 3])
def test_scans_of_the_other_contrast_than_the_model_learned_are_warned_of(tmp_path: Path, dims: int) -> None:
    """Whether other scans, or the same ones with another `data.inverted` than before."""
    folder = scans(tmp_path / "scans", count=1)
    path = folder / "Case00.nii.gz"
    values = np.asarray(nibabel.load(path).dataobj) ** 3.0  # type: ignore[attr-defined]
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)
    plan = SegmentationPlan(patch_size=(4, 32, 32) if dims == 3 else None)
    spec = {**SPEC, "args": {**SPEC["args"], "in_channels": 3 if dims == 2 else 1, "spatial_dims": dims}}
    model = replace(plain(), network=spec, state=build_network(spec, 8).state_dict(), plan=plan)
    config = settings(tmp_path, folder)
    learned = with_site_statistics(model.build(), Segmenter(model, config).read(0)[1])
    model = replace(model, state=learned.state_dict())
    (tmp_path / "other.yaml").write_text((tmp_path / "site.yaml").read_text().replace("{", "{inverted: true, "))
    other = load_site_config(tmp_path / "other.yaml", "site-1")
    results = [Segmenter(model, one).apply(0) for one in (config, other)]
    told = "bright and dark are the other way round than the model knows them"
    assert [sum(told in line for line in result.warnings) for result in results] == [0, 1]
    for result in results:  # the picture is one of the scan, of few bright voxels among many dark ones
        assert (result.pictures["input"] ** 3).mean() > 0
    instance = {**spec, "args": {**spec["args"], "norm": "instance"}}  # has no statistics to compare
    silent = replace(model, network=instance, state=build_network(instance, 8).state_dict())
    assert not any(told in line for line in Segmenter(silent, other).apply(0).warnings)


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"own_dice": 1.5}, "own_dice: expected 0 to 1, got 1.5"),
        ({"distance": -0.5}, "distance: expected 0 to inf, got -0.5"),
    ],
)
def test_a_number_that_is_none_is_refused(known: dict[str, float], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        load_personal_model(written(replace(plain(), **known), tmp_path))
