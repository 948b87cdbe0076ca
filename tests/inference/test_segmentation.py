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
from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.datasets.organ_sizes import OrganSizes
from flare_mri.datasets.pieces import in_order, run_batches
from flare_mri.datasets.segmentation import SegmentationData
from flare_mri.errors import InputError
from flare_mri.inference.opening import open_application
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel, load_personal_model
from flare_mri.inference.quality import Calibration
from flare_mri.inference.segmentation import Segmenter
from flare_mri.networks import build_network
from flare_mri.routing import build_routed_network
from flare_mri.segment import main
from flare_mri.training import SiteStore

SPEC: dict[str, Any] = {
    "path": "flare_mri.networks.unet.UNet",
    "args": {"in_channels": 3, "out_channels": 2, "norm": "batch", "channels": 4, "num_pools": 2},
}
SETTINGS = "data: {{format: prostate, root: {root}, slice_axis: {axis}, spatial_size: [32, 32], fit: {fit}}}\n"
AFFINE = np.array([[-0.7, 0, 0.1, 30], [0, 0.6, 0, -20], [0, 0.1, 2.5, 7], [0, 0, 0, 1.0]])


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def scans(folder: Path, count: int = 2, shape: tuple[int, ...] = (20, 36, 7), kind: Any = nibabel.Nifti1Image) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        values = (1000 * random.random(shape)).astype(np.int16)
        image = kind(values, AFFINE)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / f"Case{number:02d}.nii.gz")
    return folder


def settings(tmp_path: Path, root: Path, axis: int = 2, fit: str = "pad") -> SiteConfig:
    path = tmp_path / "site.yaml"
    path.write_text(SETTINGS.format(root=root, axis=axis, fit=fit))
    return load_site_config(path, "site-1")


def plain() -> PersonalModel:
    return PersonalModel(
        "iopfl", "site-1", "segmentation", SPEC, build_network(SPEC, 8).state_dict(), (32, 32), ("RAS",)
    )


def other_state() -> dict[str, torch.Tensor]:
    return build_network(SPEC, 9).state_dict()


def routed() -> PersonalModel:
    plain_network, states = build_network(SPEC, 0), [build_network(SPEC, seed).state_dict() for seed in range(3)]
    state = build_routed_network(plain_network, states).state_dict()
    return replace(plain(), state=state, experts=("site-1", "site-2", "global"), batch_size=4)


def written(model: PersonalModel, folder: Path) -> Path:
    store = SiteStore(folder / "store", model.job, model.site)
    store.save_model(PERSONAL_FILE, model.state, model.description())
    return store.path(PERSONAL_FILE)


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


def test_an_organ_of_another_size_than_was_learned_is_told_and_goes_into_no_bundle(tmp_path: Path) -> None:
    folder = scans(tmp_path / "scans", count=1)
    model = replace(plain(), organ_sizes=OrganSizes({"organ": (1e4, 2e4)}))
    config = settings(tmp_path, folder)
    warnings = Segmenter(load_personal_model(written(model, tmp_path)), config, folder).apply(0).warnings
    assert any(warning.endswith("the model learned from 1e+04 to 2e+04 ml") for warning in warnings)
    export_bundle(model, config, tmp_path / "bundle")
    exported = (tmp_path / "bundle" / "models" / "model.safetensors").read_bytes()
    assert b"batch_size" in exported and b"organ_sizes" not in exported


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, model, out = scans(tmp_path / "scans"), plain(), tmp_path / "out"
    settings(tmp_path, tmp_path)
    words = [written(model, tmp_path), "--site", tmp_path / "site.yaml", "--scans", folder, "--out", out]
    assert main([str(word) for word in words]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "segmentation: iopfl's model of site-1; 2 scans" and len(printed) == 7
    assert printed[1].startswith("2 of them in the data of site.yaml")
    assert all("predicted Dice 0." in line for line in printed[2:4]) and "of 2 scans with a warning" in printed[4]
    assert printed[5].startswith("its curve was fitted to other data")
    assert {path.name for path in out.iterdir()} == {
        "Case00_segmentation.nii.gz",
        "Case01_segmentation.nii.gz",
        "overview.png",
    }
    before = (out / "Case00_segmentation.nii.gz").read_bytes()
    assert main([str(word) for word in words]) == 2
    assert "Case00_segmentation.nii.gz: expected a folder without results" in capsys.readouterr().err
    assert (out / "Case00_segmentation.nii.gz").read_bytes() == before


def test_a_doubtful_result_is_told_by_the_models_own_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scans(tmp_path / "scans", count=1)
    settings(tmp_path, tmp_path)
    trusting, wary = Calibration(0.9, 0.0, 1.0, 0.0), Calibration(0.5, 0.5, 20.0, 0.7)
    for calibration, number in ((trusting, 0), (wary, 1)):
        model = written(replace(plain(), calibration=calibration), tmp_path / str(number))
        words = [model, "--site", tmp_path / "site.yaml", "--scans", folder, "--out", tmp_path / f"out{number}"]
        assert main([str(word) for word in words]) == 0
        told = capsys.readouterr()
        assert f"{number} of 1 scan with a warning" in told.out
        assert told.err.count("do not use this result without looking at every slice") == number
    damaged = replace(plain(), calibration=wary)
    described = {**damaged.description(), "calibration": {"top": 2.0}}
    store = SiteStore(tmp_path / "store", "iopfl", "site-1")
    store.save_model(PERSONAL_FILE, damaged.state, described)
    with pytest.raises(InputError, match="calibration: expected top, middle, steepness, threshold"):
        load_personal_model(store.path(PERSONAL_FILE))


def test_of_two_runs_at_once_none_overwrites_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run, of another model, starts and ends while this one has looked for files and not written yet."""
    folder, out = scans(tmp_path / "scans"), tmp_path / "new" / "out"
    settings(tmp_path, tmp_path)
    models = [written(plain(), tmp_path / "one"), written(replace(plain(), state=other_state()), tmp_path / "two")]
    words = [[model, "--site", tmp_path / "site.yaml", "--scans", folder, "--out", out] for model in models]
    apply, seen = Segmenter.apply, {}

    def slow(segmenter: Segmenter, number: int) -> Any:
        result = apply(segmenter, number)
        if not seen:
            seen["begun"] = b""
            assert main([str(word) for word in words[1]]) == 0
            seen.update({path.name: path.read_bytes() for path in out.iterdir()})
        return result

    monkeypatch.setattr(Segmenter, "apply", slow)
    capsys.readouterr()
    assert main([str(word) for word in words[0]]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 3 and "2 of 2 scans failed" in lines[2]
    for line in lines[:2]:
        assert "_segmentation.nii.gz: expected no such file, got one; nothing was overwritten" in line
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {k: v for k, v in seen.items() if k != "begun"}
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600} and len(seen) == 4
    assert out.stat().st_mode & 0o777 == out.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    folder, out = scans(tmp_path / "scans", count=1), tmp_path / "out"
    out.mkdir(mode=0o755)
    settings(tmp_path, tmp_path)
    words = [written(plain(), tmp_path), "--site", tmp_path / "site.yaml", "--scans", folder, "--out", out]
    assert main([str(word) for word in words]) == 0
    assert out.stat().st_mode & 0o777 == 0o755 and {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}


def test_a_scan_that_is_cut_short_costs_the_others_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, model, out = scans(tmp_path / "scans", count=3), plain(), tmp_path / "out"
    damaged = folder / "Case01.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    settings(tmp_path, folder)
    words = [written(model, tmp_path), "--site", tmp_path / "site.yaml", "--scans", folder, "--out", out]
    assert main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert str(damaged) in lines[0] and lines[1].startswith("error: 1 of 3 scans failed") and len(lines) == 2
    assert {p.name.split("_")[0] for p in out.iterdir()} == {"Case00", "Case02", "overview.png"}


def test_wrong_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, model = scans(tmp_path / "scans"), plain()
    config = settings(tmp_path, folder)
    with pytest.raises(InputError, match="got one of segmentation"):
        open_application(model, config, folder, undersampled=True)
    with pytest.raises(InputError, match=r"site 'site-1': scans: expected a file or a folder, got .*nowhere"):
        open_application(model, config, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected NIfTI images"):
        open_application(model, config, tmp_path / "empty")
    (tmp_path / "site.yaml").write_text(f"data: {{format: nifti, root: {folder}}}\n")
    with pytest.raises(InputError, match="for a segmentation job, got 'nifti'"):
        open_application(model, load_site_config(tmp_path / "site.yaml", "site-1"), folder)
    words = [str(tmp_path / "none"), "--site", str(tmp_path / "site.yaml"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()
