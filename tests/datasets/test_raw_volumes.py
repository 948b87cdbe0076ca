# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Training data of raw k-space: multi-coil to the network, consistent under random transforms, cached once."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from nibabel.orientations import aff2axcodes

from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.datasets.volumes import find_scans
from flare_mri.errors import InputError
from flare_mri.io.formats import FORMATS
from flare_mri.io.raw.reader import raw_reader
from flare_mri.io.raw.samples import sample_scan, write_fastmri_raw
from flare_mri.networks.unrolled import UnrolledNetwork
from flare_mri.physics.classical import root_sum_of_squares
from flare_mri.physics.fourier import ifft2c
from flare_mri.physics.operator import SenseOperator
from flare_mri.training.pooled import PooledTask
from flare_mri.training.reconstruction import ReconstructionTask
from flare_mri.training.task import check_takes_images, training_loader
from flare_mri.transforms.augmentation import choose_augmentation

KEYS = ("kspace", "mask", "sensitivities")
SETTINGS = """
data: {{format: {name}, root: data, sensitivities: low_pass{more}}}
split: {{train: 0.5, validation: 0, test: 0.5, by: slice}}
mask: {{kind: equispaced, acceleration: 2, centre_fraction: 0.3}}
cache: {{folder: cache}}
"""


def site(folder: Path, name: str, more: str = "") -> SiteConfig:
    folder.mkdir(exist_ok=True)
    write = FORMATS[name].write_sample
    assert write is not None
    if not (folder / "data").exists():
        write(folder / "data", np.random.default_rng(0))
    (folder / "site.yaml").write_text(SETTINGS.format(name=name, more=more))
    return load_site_config(folder / "site.yaml", "site-1")


@pytest.mark.parametrize("name", ["ismrmrd", "bart"])
def test_a_sample_holds_all_coils(tmp_path: Path, name: str) -> None:
    data = ReconstructionData(site(tmp_path, name), 0, KEYS)
    assert data.describe()["kspace"] == "measured" and data.describe()["coils"] == 3
    sample = data.test[0]
    coils, height, width = sample["kspace"].shape
    assert coils == 3 and sample["kspace"].dtype == sample["sensitivities"].dtype == torch.complex64
    assert not sample["kspace"][:, ~sample["mask"][0]].any() and sample["kspace"][:, sample["mask"][0]].all()
    zero_filled = root_sum_of_squares(sample["kspace"][None])[0] - sample["offset"] / sample["scale"]
    torch.testing.assert_close(zero_filled, sample["image"], rtol=1e-4, atol=1e-4)
    squares = sample["sensitivities"].abs().square().sum(0)
    torch.testing.assert_close(squares, torch.ones(height, width), rtol=1e-4, atol=1e-4)


def test_slices_know_how_they_lie(tmp_path: Path) -> None:
    """As the file's own geometry has it, on a second opening too, which reads no file."""
    config = site(tmp_path, "ismrmrd")
    for _ in range(2):
        data = ReconstructionData(config, 0)
        for scan, place in zip(find_scans(config, "reconstruction"), data.places, strict=True):
            geometry = raw_reader(scan).read_raw(scan.files).geometry
            assert geometry is not None and place.axcodes == "".join(aff2axcodes(geometry))
            np.testing.assert_allclose(place.spacing, np.linalg.norm(geometry[:3, :2], axis=0), rtol=1e-5)
    config = site(tmp_path / "bart", "bart")
    assert {place.axcodes for place in ReconstructionData(config, 0).places} == {""}


def test_the_fully_sampled_scan_is_the_target(tmp_path: Path) -> None:
    """The SENSE image of all samples is near the root of the sum of squares: sensitivities belong to these coils."""
    data = ReconstructionData(site(tmp_path, "ismrmrd"), 0, KEYS)
    assert data.train.raw is not None
    volume, index = data.train.indices[0]
    item = data.train.raw[volume].item(index)
    full = torch.ones(1, 1, *item["full"].shape[1:])
    image = SenseOperator(item["sensitivities"][None], full).adjoint(item["full"][None]).abs()[0]
    target = torch.from_numpy(np.asarray(data.train.volumes[volume][index]))[None]
    assert (image - target).norm() < 0.1 * target.norm()


def test_random_transforms_move_coils_sensitivities_and_target_alike(tmp_path: Path) -> None:
    data = ReconstructionData(site(tmp_path, "ismrmrd"), 0, KEYS)
    plain, flipped = data.train, data.train.augment(("flip",), 0)
    turned = 0
    for place in range(len(plain)):
        one, other = plain[place], flipped[place]
        same = torch.allclose(one["target"] * one["scale"] + one["offset"], _units(other), atol=1e-3)
        mirrored = torch.allclose((one["target"] * one["scale"] + one["offset"]).flip(2), _units(other), atol=1e-3)
        assert same or mirrored
        turned += mirrored
        if mirrored:
            torch.testing.assert_close(one["sensitivities"].flip(2), other["sensitivities"], rtol=1e-3, atol=1e-3)
    assert turned, "no sample was flipped"


def test_a_phase_turns_all_coils_and_leaves_magnitudes(tmp_path: Path) -> None:
    data = ReconstructionData(site(tmp_path, "ismrmrd"), 0, KEYS)
    one, other = data.train[0], data.train.augment(("phase",), 0)[0]
    torch.testing.assert_close(_units(one), _units(other), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(one["sensitivities"], other["sensitivities"], rtol=1e-3, atol=1e-3)
    sampled = one["kspace"].abs() > 0.1 * one["kspace"].abs().max()
    turned = (other["kspace"] / one["kspace"])[sampled]
    assert turned.angle().std() < 1e-3 < abs(float(turned.angle().mean()))
    again = data.train.augment(("phase",), 0)[0]["kspace"]
    assert torch.equal(other["kspace"], again), "the same seed must give the same sample"


def test_a_coil_that_fails_is_gone_from_target_and_sensitivities_too(tmp_path: Path) -> None:
    data = ReconstructionData(site(tmp_path, "ismrmrd"), 0, KEYS)
    samples = [data.train.augment(("coil_dropout",), seed)[0] for seed in range(60)]
    silent = [s for s in samples if int((s["kspace"].abs().amax((1, 2)) == 0).sum()) == 1]
    assert 0 < len(silent) < len(samples)
    for sample in silent:
        coil = int(sample["kspace"].abs().amax((1, 2)).argmin())
        assert not sample["sensitivities"][coil].any()
        assert _units(sample).mean() < _units(data.train[0]).mean()
        squares = sample["sensitivities"].abs().square().sum(0)
        torch.testing.assert_close(squares, torch.ones_like(squares), rtol=1e-4, atol=1e-4)


def test_transforms_of_coils_are_for_raw_k_space_and_for_those_who_name_them(tmp_path: Path) -> None:
    named = site(tmp_path, "ismrmrd", ", augmentation: [phase, flip, rotation]")
    assert ReconstructionData(named, 0, KEYS).augmentation == ("flip", "rotation", "phase")
    assert ReconstructionData(site(tmp_path, "ismrmrd"), 0, KEYS, augmentation=True).augmentation == ("flip", "affine")
    with pytest.raises(InputError, match="data.augmentation: phase: expected raw k-space, got images"):
        choose_augmentation("reconstruction", True, ("phase",), raw=False)


def _units(sample: dict[str, torch.Tensor]) -> torch.Tensor:
    return sample["target"] * sample["scale"] + sample["offset"]


def test_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = site(tmp_path, "ismrmrd")
    first = ReconstructionData(config, 0, KEYS)
    monkeypatch.setattr("flare_mri.io.raw.reader.read_raw", None)
    monkeypatch.setattr("flare_mri.datasets.raw_volumes.estimate_sensitivities", None)
    again = ReconstructionData(config, 0, KEYS)
    assert again.fingerprint() == first.fingerprint()
    assert torch.equal(again.test[0]["kspace"], first.test[0]["kspace"])


def test_other_sizes_and_settings_of_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data.spatial_size: expected none for raw k-space"):
        ReconstructionData(site(tmp_path, "bart", ", spatial_size: [16, 16]"), 0, KEYS)


def test_scans_of_a_site_may_differ_in_size_and_coils(tmp_path: Path) -> None:
    """Batches hold one kind, each has its mask, scores are of all volumes, pictures are of one size."""
    config = site(tmp_path, "fastmri")
    for file in (tmp_path / "data").iterdir():
        file.unlink()
    rng = np.random.default_rng(0)
    for name, coils, size in (("a", 3, (24, 20)), ("b", 5, (24, 20)), ("c", 3, (33, 26))):
        scan = sample_scan(rng, (4, *size), coils)
        write_fastmri_raw(tmp_path / "data" / f"{name}.h5", scan.kspace)
    config = config.model_copy(update={"batch_size": 2})
    network = UnrolledNetwork(num_cascades=1, regulariser_args={"channels": 4, "num_pools": 2})
    data = ReconstructionData(config, 0, network.sample_keys, augmentation=True)
    assert "3 coils of 24x20, 5 coils of 24x20, 3 coils of 33x26" in data.describe()["notes"][-1]
    task = ReconstructionTask(data, config, torch.device("cpu"))
    check_takes_images(network, task)
    seen = [tuple(batch["kspace"].shape) for batch in training_loader(task, 0)]
    assert sorted(seen) == [(2, 3, 24, 20), (2, 3, 33, 26), (2, 5, 24, 20)]
    assert task.evaluate(network, "test").keys() == task.baselines(classical=False)["zero_filled"].metrics.keys()
    assert task.examples(network)["target"].shape[1:] == (33, 26)
    pooled = PooledTask("all", [task, task], 2)
    assert sorted(tuple(b["kspace"].shape) for b in training_loader(pooled, 0)) == sorted(2 * seen)


def test_the_contrasts_of_training_are_known_where_every_scan_names_its_own(tmp_path: Path) -> None:
    config = site(tmp_path, "fastmri")
    for file in (tmp_path / "data").iterdir():
        file.unlink()
    kspace = sample_scan(np.random.default_rng(0), (4, 24, 20)).kspace
    for name in ("b", "a"):
        with h5py.File(write_fastmri_raw(tmp_path / "data" / f"{name}.h5", kspace), "a") as file:
            file.attrs["acquisition"] = f"AX_{name}"
    for _ in range(2):  # the second time from the cache
        assert ReconstructionData(config, 0, KEYS).acquisition.contrasts == ("AX_a", "AX_b")
    assert "AX_" not in str(ReconstructionData(config, 0, KEYS).describe())  # stays at the site
    write_fastmri_raw(tmp_path / "data" / "c.h5", kspace)
    assert ReconstructionData(config, 0, KEYS).acquisition.contrasts == ()


def test_k_space_of_fastmri_files_is_raw_unless_asked_otherwise(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_fastmri_raw(tmp_path / "data" / "a.h5", sample_scan(np.random.default_rng(0)).kspace)
    measured = ReconstructionData(site(tmp_path, "fastmri"), 0, KEYS)
    simulated = ReconstructionData(site(tmp_path, "fastmri", ", simulate: true"), 0, KEYS)
    told = [[data.describe()[key] for key in ("kspace", "coils")] for data in (measured, simulated)]
    assert told == [["measured", 3], ["simulated", 1]]
    image = ifft2c(simulated.test[0]["kspace"]).abs()
    assert torch.isfinite(image).all()


@pytest.mark.parametrize("kind", ["random", "gaussian"])
def test_masks_are_redrawn_in_training_alone(tmp_path: Path, kind: str) -> None:
    config = site(tmp_path, "ismrmrd")
    mask = config.mask.model_copy(update={"kind": kind, "redraw": True})
    config = config.model_copy(update={"mask": mask})
    task = ReconstructionTask(ReconstructionData(config, 0, KEYS), config, torch.device("cpu"))
    first, again, other = (task.training_data(seed) for seed in (0, 0, 1))
    masks = [data[0]["mask"] for data in (first, again, other)] + [first[1]["mask"]]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2]) and not torch.equal(masks[0], masks[3])
    assert all(abs(float(m.float().mean()) - 0.5) < 0.1 for m in masks)
    sample, fixed = first[0], task.dataset("test")
    assert not sample["kspace"][:, ~sample["mask"][0]].any() and sample["kspace"][:, sample["mask"][0]].all()
    assert torch.equal(fixed[0]["mask"], fixed[1]["mask"]) and torch.equal(
        task.dataset("train")[0]["mask"], fixed[0]["mask"]
    )


def test_the_phantom_is_a_simulated_scan_of_many_coils(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(
        "data: {format: phantom, subjects: 2, spatial_size: [33, 40], coils: 5}\n"
        "split: {train: 0.5, validation: 0, test: 0.5, by: volume}\n"
    )
    data = ReconstructionData(load_site_config(tmp_path / "site.yaml", "site-2"), 0, KEYS)
    assert [data.describe()[key] for key in ("kspace", "coils", "spatial_size")] == ["simulated", 5, [33, 40]]
    one, two = data.train[0], data.test[0]
    assert one["kspace"].shape == (5, 33, 40) and one["kspace"].imag.abs().max() > 0.1 * one["kspace"].abs().max()
    assert not torch.equal(one["target"], two["target"])  # subjects are told apart in the cache


def test_samples_can_be_sent_to_worker_processes(tmp_path: Path) -> None:
    test = ReconstructionData(site(tmp_path, "bart"), 0, KEYS).test
    sent = pickle.loads(pickle.dumps(test))
    assert torch.equal(sent[0]["sensitivities"], test[0]["sensitivities"])
