# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A hospital without fully sampled scans: it trains on what it has, and is scored by samples that it holds out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from flare_mri.config.site import SiteConfig, load_site_config
from flare_mri.config.training import TrainingSettings
from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.errors import InputError
from flare_mri.io.raw.samples import sample_scan, write_fastmri_raw
from flare_mri.methods import METHODS
from flare_mri.networks.unrolled import UnrolledNetwork
from flare_mri.physics.fourier import fft2c
from flare_mri.training import Learner, build_task
from flare_mri.training.classical import CLASSICAL, score_classical
from flare_mri.training.examples import ReconstructionExamples
from flare_mri.training.held_out import HeldOutSnr
from flare_mri.training.pooled import PooledTask
from flare_mri.training.reconstruction import ReconstructionTask

SITE = """
data: {{format: fastmri, root: data, sensitivities: low_pass{more}}}
split: {{train: 0.5, validation: 0, test: 0.5, by: slice}}
mask: {{kind: random, acceleration: 3}}
cache: {{folder: cache}}
batch_size: 2
"""
KEYS = ("kspace", "mask", "sensitivities")


def site(folder: Path, more: str = "", full: bool = False) -> SiteConfig:
    """Two scans with other lines each."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for number in range(2):
        scan = sample_scan(np.random.default_rng(number), (4, 32, 28))
        lines = np.isin(np.arange(28), [*range(number, 28, 2), *range(10, 18)])
        path = folder / "data" / f"scan{number}.h5"
        if full:
            write_fastmri_raw(path, scan.kspace)
        else:
            write_fastmri_raw(path, scan.kspace * lines, mask=lines)
    (folder / "site.yaml").write_text(SITE.format(more=more))
    return load_site_config(folder / "site.yaml", "site-1")


def build_network() -> UnrolledNetwork:
    torch.manual_seed(0)
    return UnrolledNetwork(num_cascades=2, regulariser_args={"channels": 8, "num_pools": 2})


def task_of(config: SiteConfig, loss: str = "ssdu") -> ReconstructionTask:
    return ReconstructionTask(ReconstructionData(config, 0, KEYS), config, torch.device("cpu"), loss)


def test_samples_are_what_was_measured(tmp_path: Path) -> None:
    data = ReconstructionData(site(tmp_path), 0, KEYS)
    for place, (volume, index) in enumerate(data.test.indices):
        scan = sample_scan(np.random.default_rng(volume), (4, 32, 28))
        sample = data.test[place]
        assert "target" not in sample and "max" not in sample
        lines = np.isin(np.arange(28), [*range(volume, 28, 2), *range(10, 18)])
        assert np.array_equal(sample["mask"][0].numpy(), np.broadcast_to(lines, (32, 28)))
        measured = sample["kspace"] * sample["scale"]
        torch.testing.assert_close(measured, torch.from_numpy(scan.kspace[index] * lines).to(torch.complex64))
    described = data.describe()
    assert described["mask"] == {"kind": "own", "acceleration": pytest.approx(28 / 18, abs=0.01)}
    assert any("by --loss ssdu alone" in note for note in described["notes"])


def test_a_network_learns_from_them(tmp_path: Path) -> None:
    """On the full scans, which it never saw, it is better too."""
    config, network = site(tmp_path / "site"), build_network()
    task, full = task_of(config), task_of(site(tmp_path / "full", full=True))
    settings = TrainingSettings(optimizer="adam", lr=2e-3, lr_step=0, local_epochs=12, loss="ssdu")
    method = METHODS["local-only"]
    learner = Learner(network, [], task, settings, method.site(method.options()))
    before, psnr = task.evaluate(network, "test"), full.evaluate(network, "test")["psnr"]
    assert list(before) == [task.key_metric] == ["held_out_snr"]
    assert before == task.evaluate(network, "test")
    for round_number in range(3):
        learner.train({}, round_number)
    assert task.evaluate(network, "test")["held_out_snr"] > before["held_out_snr"] + 1
    assert full.evaluate(network, "test")["psnr"] > psnr + 0.5
    shown = task.examples(network)
    assert "target" not in shown and not shown["rank"].any()


def test_classical_reconstructions_are_scored_alike(tmp_path: Path) -> None:
    task = task_of(site(tmp_path))
    assert task.baselines(classical=False) == {}
    examples = ReconstructionExamples(task.data.places)
    scores, weight = score_classical(task.data, "cg_sense", examples)
    assert len(examples.choose()["output"]) == 1 and "target" not in examples.choose()
    assert scores.aggregate()["held_out_snr"] > 3 and scores.score_volumes() and weight in CLASSICAL["cg_sense"].weights


def test_the_score_is_0_for_nothing_and_the_cap_for_the_truth() -> None:
    image = torch.randn(2, 1, 32, 32, dtype=torch.complex64)
    mask = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    batch = {"kspace": fft2c(image), "mask": mask, "volume": torch.tensor([0, 0]), "slice": torch.tensor([3, 4])}
    scores, maps = HeldOutSnr(), torch.ones_like(image)
    seen, held_out = scores.split(batch)
    assert torch.equal(seen, ~held_out) and not torch.equal(held_out[0], held_out[1])
    alone = HeldOutSnr().split({key: value[1:] for key, value in batch.items()})
    assert torch.equal(alone[1], held_out[1:])
    scores.add(batch, held_out, 0 * image, maps)
    assert scores.aggregate()["held_out_snr"] == pytest.approx(0, abs=1e-4)
    truth = HeldOutSnr()
    truth.add(batch, held_out, image, maps)
    assert truth.aggregate()["held_out_snr"] > 90
    noisy = HeldOutSnr()
    noisy.add(batch, held_out, 0.9 * image, maps)
    assert noisy.aggregate()["held_out_snr"] == pytest.approx(20, abs=1e-3)


def test_a_loss_of_the_target_is_refused_before_a_round(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'site-1': expected fully sampled scans for loss l1, .* --loss ssdu"):
        build_task("reconstruction", site(tmp_path), 0, KEYS, TrainingSettings(loss="l1"))


def test_kinds_do_not_mix(tmp_path: Path) -> None:
    config = site(tmp_path)
    scan = sample_scan(np.random.default_rng(0), (4, 32, 28))
    write_fastmri_raw(tmp_path / "data" / "scan2.h5", scan.kspace)
    with pytest.raises(InputError, match="scan2.h5: expected a scan that is undersampled, as scan0 is, .* fully"):
        ReconstructionData(config, 0, KEYS)
    full = task_of(site(tmp_path / "full", full=True))
    with pytest.raises(InputError, match="leave it out of the centralised run"):
        PooledTask("all", [full, task_of(site(tmp_path / "other"))], 2)


def test_a_scan_without_a_centre_is_named(tmp_path: Path) -> None:
    config = site(tmp_path)
    scan = sample_scan(np.random.default_rng(0), (4, 32, 28))
    lines = np.arange(28) % 4 == 1
    write_fastmri_raw(tmp_path / "data" / "scan1.h5", scan.kspace * lines, mask=lines)
    with pytest.raises(InputError, match="scan1.h5: "):
        ReconstructionData(config, 0, KEYS)


def test_random_transforms_are_those_that_keep_the_mask(tmp_path: Path) -> None:
    config = site(tmp_path, ", augmentation: [phase, coil_dropout]")
    data = ReconstructionData(config, 0, KEYS, augmentation=True)
    plain, other = data.train[0], data.train.augment(data.augmentation, 0)[0]
    assert torch.equal(plain["mask"], other["mask"]) and not other["kspace"][:, ~other["mask"][0]].any()
    assert not torch.allclose(plain["kspace"], other["kspace"], atol=1e-3)
    assert default_collate([other])["kspace"].shape == (1, 3, 32, 28)
    assert ReconstructionData(site(tmp_path), 0, KEYS, augmentation=True).augmentation == ()
    with pytest.raises(InputError, match="augmentation: flip: expected fully sampled scans"):
        ReconstructionData(site(tmp_path, ", augmentation: [flip]"), 0, KEYS)
