# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reconstructions of raw scans: with their own mask, coils, size and place, and the numbers to check them by."""

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch

from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.datasets.acquisition import Acquisition, acquisition_from
from flare_mri.errors import InputError
from flare_mri.inference.application import Result, Wanted
from flare_mri.inference.opening import open_application
from flare_mri.inference.personal_model import PERSONAL_FILE, PersonalModel
from flare_mri.inference.scan_numbers import Residual, relative_noise, spread_of_cascades
from flare_mri.io.raw.build import make_target
from flare_mri.io.raw.read import read_raw
from flare_mri.io.raw.samples import (
    Position,
    make_header,
    sample_scan,
    write_bart,
    write_fastmri_raw,
    write_ismrmrd,
    write_raw_samples,
)
from flare_mri.networks import build_network
from flare_mri.physics.operator import SenseOperator
from flare_mri.reconstruct import main
from flare_mri.training import SiteStore

SMALL = {"num_cascades": 3, "regulariser_args": {"channels": 4, "num_pools": 2}}
UNROLLED: dict[str, Any] = {"path": "flare_mri.networks.unrolled.UnrolledNetwork", "args": SMALL}
UNET: dict[str, Any] = {"path": "flare_mri.networks.unet.UNet", "args": {"channels": 4, "num_pools": 2}}
LEARNED = Acquisition("measured", 3, (24, 20), 2.0, (240.0, 200.0))
SETTINGS = """
data: {format: ismrmrd, root: data, sensitivities: low_pass}
mask: {kind: equispaced, acceleration: 2, centre_fraction: 0.3}
cache: {folder: cache}
"""


def site(tmp_path: Path) -> SiteConfig:
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "site.yaml").write_text(SETTINGS)
    return load_site_config(tmp_path / "site.yaml", "site-1")


def model(spec: dict[str, Any] = UNROLLED, learned: Acquisition | None = LEARNED) -> PersonalModel:
    network = build_network(spec, 3)
    for parameter in network.parameters():  # the last layers start at zero, and would change nothing
        torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(parameter.numel()))
    state = network.state_dict()
    return PersonalModel("fedmri", "site-1", "reconstruction", spec, state, (24, 20), acquisition=learned)


def images_in(content: bytes) -> Any:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(content))


def numbers_in(result: Result) -> dict[str, Any]:
    return json.loads(result.more["_reconstruction.json"])


def test_each_format_is_done_with_its_own_mask(tmp_path: Path) -> None:
    """One folder, four files: fully sampled in fastMRI's layout, the others undersampled."""
    write_raw_samples(tmp_path / "new", np.random.default_rng(0))
    application = open_application(model(), site(tmp_path), tmp_path / "new")
    results = {name: application.apply(number) for number, name in enumerate(application.names)}
    assert set(results) == {"bart", "fastmri", "ismrmrd", "test"}
    for name, result in results.items():
        assert images_in(result.content).shape == (24, 20, 3)
        assert ("target" in result.pictures) == bool(result.scores) == (name == "fastmri")
        assert ("undersampled here" in result.text) == (name == "fastmri")
    same = [np.asarray(images_in(results[name].content).dataobj) for name in ("bart", "test")]
    np.testing.assert_allclose(*same, rtol=1e-4, atol=1e-5)
    told = numbers_in(results["test"])
    assert told["acceleration"] == pytest.approx(20 / 12) and told["centre"] == [24, 5]


def test_the_result_is_the_networks_on_this_scan(tmp_path: Path) -> None:
    write_raw_samples(tmp_path / "new", np.random.default_rng(0))
    wanted = Wanted(extra=("complex", "phase", "uncertainty"))
    application = open_application(model(), site(tmp_path), tmp_path / "new", wanted)
    result = application.apply(application.names.index("test"))
    scan, network = read_raw(tmp_path / "new" / "test.h5"), model().build()
    from flare_mri.physics.coil_sensitivities import estimate_low_pass

    kspace, mask = torch.from_numpy(scan.kspace), torch.from_numpy(np.array(scan.mask))[:, None]
    maps = estimate_low_pass(kspace, mask)
    with torch.inference_mode():
        cascades, output = network.run_cascades(kspace, mask, maps), network(kspace, mask, maps)
    image = cascades[-1][:, 0].movedim(0, -1).numpy()
    magnitude = output[:, 0].movedim(0, -1)
    np.testing.assert_allclose(np.asarray(images_in(result.content).dataobj), magnitude, rtol=1e-3, atol=1e-4)
    stored = {name: np.asarray(images_in(result.more[f"_{name}.nii.gz"]).dataobj) for name in application.extra}
    np.testing.assert_allclose(stored["complex"], image, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.exp(1j * stored["phase"]) * np.abs(image), image, rtol=1e-3, atol=1e-4)
    spread = torch.stack([c.abs() for c in cascades]).std(0, correction=0)[:, 0].movedim(0, -1)
    np.testing.assert_allclose(stored["uncertainty"], spread, rtol=1e-3, atol=1e-4)
    left = SenseOperator(maps, mask).forward(cascades[-1]) - kspace
    assert numbers_in(result)["residual"] == pytest.approx(float(left.abs().norm() / kspace.abs().norm()), rel=1e-3)


def test_the_image_lies_where_the_header_says(tmp_path: Path) -> None:
    """Oblique slices: the voxel in the middle of the first is at the acquisitions' position, turned to RAS."""
    scan = sample_scan(np.random.default_rng(0))
    turned = np.sqrt(0.5)
    place = Position(read=(turned, turned, 0.0), phase=(-turned, turned, 0.0), slice=(0.0, 0.0, 1.0))
    (tmp_path / "new").mkdir()
    write_ismrmrd(tmp_path / "new" / "a.h5", scan.kspace, np.arange(20) % 2 == 0, position=place)
    with pytest.raises(InputError, match="zero frequency|centre"):  # every other line alone has no centre of 8
        open_application(model(), espirit(tmp_path), tmp_path / "new").apply(0)
    affine = images_in(open_application(model(), site(tmp_path), tmp_path / "new").apply(0).content).affine
    np.testing.assert_allclose(affine @ [12, 10, 0, 1], [-10, 20, 30, 1], atol=1e-3)
    np.testing.assert_allclose(affine[:3, 0], [-10 * turned, -10 * turned, 0], atol=1e-3)


def espirit(tmp_path: Path) -> SiteConfig:
    config = site(tmp_path)
    return config.model_copy(update={"data": config.data.model_copy(update={"sensitivities": "espirit"})})


def test_what_differs_is_said(tmp_path: Path) -> None:
    scan = sample_scan(np.random.default_rng(0), (2, 33, 26), coils=2)
    (tmp_path / "new").mkdir()
    lines = np.isin(np.arange(26), [*range(1, 26, 8), *range(10, 16)])
    header = make_header((33, 26), (330.0, 130.0, 5.0), slices=2)
    write_fastmri_raw(tmp_path / "new" / "a.h5", scan.kspace * lines, lines, header=header)
    result = open_application(model(), site(tmp_path), tmp_path / "new").apply(0)
    told = "\n".join(result.warnings)
    for words in ("2 coils, .* 3", "33x26, .* 24x20", "acceleration 2.6, .* 2.0", "330x130 mm, .* 240x200"):
        assert re.search(words, told), f"{words} not in {told}"
    assert numbers_in(result)["warnings"] == list(result.warnings)
    unknown = open_application(model(learned=None), site(tmp_path), tmp_path / "new").apply(0)
    assert "does not say" in unknown.warnings[0]
    simulated = replace(LEARNED, kspace="simulated", coils=1)
    warned = open_application(model(learned=simulated), site(tmp_path), tmp_path / "new").apply(0).warnings
    assert "learned from simulated k-space" in warned[0]


def test_a_scan_that_came_undersampled_with_the_truth_keeps_its_mask_and_is_scored(tmp_path: Path) -> None:
    scan = sample_scan(np.random.default_rng(0))
    lines = np.isin(np.arange(20), [*range(0, 20, 4), *range(6, 14)])
    (tmp_path / "new").mkdir()
    write_fastmri_raw(tmp_path / "new" / "a.h5", scan.kspace * lines, target=make_target(scan.kspace))
    result = open_application(model(), site(tmp_path), tmp_path / "new").apply(0)
    assert result.scores and "undersampled here" not in result.text
    assert numbers_in(result)["acceleration"] == pytest.approx(20 / lines.sum())


@pytest.mark.parametrize("first", ["ismrmrd", "damaged"])
def test_a_folder_is_raw_whatever_lies_first_in_it(tmp_path: Path, first: str) -> None:
    """At a site of fastMRI files, too, which may hold finished magnitudes."""
    scan = sample_scan(np.random.default_rng(0))
    (tmp_path / "new").mkdir()
    write_ismrmrd(tmp_path / "new" / "a.h5", scan.kspace)
    if first == "damaged":
        (tmp_path / "new" / "a.h5").write_bytes(b"")
    lines = np.isin(np.arange(20), [*range(0, 20, 4), *range(6, 14)])
    write_fastmri_raw(tmp_path / "new" / "b.h5", scan.kspace * lines, lines)
    (tmp_path / "data").mkdir()
    (tmp_path / "site.yaml").write_text(SETTINGS.replace("ismrmrd", "fastmri"))
    application = open_application(model(), load_site_config(tmp_path / "site.yaml", "site-1"), tmp_path / "new")
    assert numbers_in(application.apply(1))["acceleration"] == pytest.approx(20 / lines.sum())
    if first == "damaged":
        with pytest.raises(InputError, match=r"a\.h5: "):
            application.apply(0)
    else:
        assert application.apply(0).scores


def test_another_contrast_is_said(tmp_path: Path) -> None:
    """By the names that files give, however they are spelt; a file that gives none is not compared."""
    for name in ("AX_T2", "AX_T1POST", ""):
        (tmp_path / "new").mkdir(exist_ok=True)
        scan = sample_scan(np.random.default_rng(0))
        path = write_fastmri_raw(tmp_path / "new" / f"{name or 'nameless'}.h5", scan.kspace)
        if name:
            with h5py.File(path, "a") as file:
                file.attrs["acquisition"] = name
    learned = replace(LEARNED, contrasts=("AX FLAIR", "AX T2"))
    application = open_application(model(learned=learned), site(tmp_path), tmp_path / "new")
    warned = {name: application.apply(number).warnings for number, name in enumerate(application.names)}
    told = "the contrast AX_T1POST, the model learned from AX FLAIR, AX T2"
    assert [name for name, lines in warned.items() if told in lines] == ["AX_T1POST"]
    assert not any("contrast" in line for name in ("AX_T2", "nameless") for line in warned[name])


def test_a_network_of_magnitudes(tmp_path: Path) -> None:
    write_raw_samples(tmp_path / "new", np.random.default_rng(0))
    result = open_application(model(UNET), site(tmp_path), tmp_path / "new").apply(0)
    assert numbers_in(result)["residual"] is None and "residual" not in result.text
    with pytest.raises(InputError, match="extra: expected a network of complex images"):
        open_application(model(UNET), site(tmp_path), tmp_path / "new", Wanted(extra=("phase",)))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_raw_samples(tmp_path / "new", np.random.default_rng(0))
    (tmp_path / "new" / "bad.cfl").write_bytes(b"")
    site(tmp_path)
    mine, out = model(), tmp_path / "out"
    store = SiteStore(tmp_path / "store", mine.job, mine.site)
    store.save_model(PERSONAL_FILE, mine.state, mine.description())
    words = [str(store.path(PERSONAL_FILE)), "--site", str(tmp_path / "site.yaml"), "--scans", str(tmp_path / "new")]
    words += ["--out", str(out), "--extra", "uncertainty"]
    assert main(words) == 2
    printed = capsys.readouterr()
    assert "bad" in printed.err and "1 of 5 scans failed" in printed.err
    assert "warning: test_reconstruction.nii.gz: " in printed.err and "residual" in printed.out
    written = {path.name for path in out.iterdir()}
    ends = ("_reconstruction.nii.gz", "_reconstruction.json", "_uncertainty.nii.gz")
    scans = ("bart", "fastmri", "ismrmrd", "test")
    assert written == {f"{name}{end}" for name in scans for end in ends} | {"overview.png"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in out.iterdir())


def test_an_image_that_does_not_fit_the_measurement_is_said(tmp_path: Path) -> None:
    """A full scan taken for an undersampled one, by a network that changes everything."""
    scan = sample_scan(np.random.default_rng(0))
    (tmp_path / "new").mkdir()
    write_fastmri_raw(tmp_path / "new" / "a.h5", scan.kspace)
    soft = {**UNROLLED, "args": {**SMALL, "data_consistency": "soft"}}
    wild = model(soft)
    wild = replace(wild, state={key: 50 * value if "output" in key else value for key, value in wild.state.items()})
    result = open_application(wild, site(tmp_path), tmp_path / "new", Wanted(undersampled=True)).apply(0)
    numbers, told = numbers_in(result), "the image does not fit what was measured"
    far = numbers["residual"] > max(2 * numbers["relative_noise"], numbers["relative_noise"] + 0.1)
    assert far and any(told in line for line in result.warnings)
    zero = replace(model(), state={key: torch.zeros_like(value) for key, value in model().state.items()})
    fitting = open_application(zero, site(tmp_path), tmp_path / "new", Wanted(undersampled=True)).apply(0)
    assert not any(told in line for line in fitting.warnings)


def test_numbers() -> None:
    rng = np.random.default_rng(0)
    noise = (rng.normal(size=(4, 3, 64, 64)) + 1j * rng.normal(size=(4, 3, 64, 64))) * np.sqrt(0.5) * 2
    mask = np.broadcast_to(np.arange(64) % 2 == 0, (4, 64, 64))
    assert relative_noise(2, noise, mask) == pytest.approx(1, rel=0.05)  # noise alone, and half of it used
    images = [torch.full((1, 1, 2, 2), value + 0j) for value in (1.0, -3.0)]
    assert torch.equal(spread_of_cascades(images), torch.ones(1, 1, 2, 2))
    assert np.isnan(Residual().value())


def test_an_acquisition_that_is_none() -> None:
    good = LEARNED.as_dict()
    assert acquisition_from(json.loads(json.dumps(good))) == LEARNED
    named = good | {"contrasts": ["AXT1", "AXT2"]}
    assert acquisition_from(json.loads(json.dumps(named))).contrasts == ("AXT1", "AXT2")
    assert acquisition_from({key: value for key, value in good.items() if key != "contrasts"}) == LEARNED  # of before
    wrong = [
        {},
        None,
        *(good | {"contrasts": value} for value in ("AXT1", [1])),
        good | {"coils": 0},
        good | {"kspace": "x"},
        good | {"acceleration": float("nan")},
    ]
    for described in [*wrong, good | {"spatial_size": [1]}, good | {"field_of_view": ["a", 2]}, good | {"more": 1}]:
        with pytest.raises(InputError, match="acquisition: expected"):
            acquisition_from(described)


def test_bart_alone(tmp_path: Path) -> None:
    scan = sample_scan(np.random.default_rng(0))
    (tmp_path / "new").mkdir()
    write_bart(tmp_path / "new" / "a.cfl", scan.kspace)
    taken = open_application(model(), site(tmp_path), tmp_path / "new", Wanted(undersampled=True)).apply(0)
    assert not taken.scores and numbers_in(taken)["acceleration"] == 1
    assert "does not say where it lies" in taken.text
