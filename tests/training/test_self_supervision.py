# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""SSDU: samples are divided, what is held out is not seen, the full scan is not used, and a network learns from it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from flare_mri.config.site import load_site_config
from flare_mri.config.training import TrainingSettings
from flare_mri.datasets.reconstruction import ReconstructionData
from flare_mri.errors import InputError
from flare_mri.methods import METHODS
from flare_mri.networks import UNet
from flare_mri.networks.unrolled import UnrolledNetwork
from flare_mri.physics.fourier import fft2c
from flare_mri.training import Learner
from flare_mri.training.reconstruction import ReconstructionTask
from flare_mri.training.self_supervision import split_samples, ssdu_loss

SITE = """
data: {format: phantom, subjects: 2, spatial_size: [48, 48], slices: {step: 2}}
split: {train: 0.5, validation: 0, test: 0.5, by: volume}
mask: {kind: random, acceleration: 3, centre_fraction: 0.15}
cache: {folder: cache}
batch_size: 2
"""


def masks() -> Tensor:
    mask = (
        torch.rand(3, 1, 33, 40, generator=torch.Generator().manual_seed(0))
        < torch.tensor([0.2, 0.5, 1.0])[:, None, None, None]
    )
    mask[:, :, 14:18, 18:22] = True
    return mask


def test_samples_are_divided() -> None:
    mask = masks()
    seen, held_out = split_samples(mask)
    assert not (seen & held_out).any() and torch.equal(seen | held_out, mask)
    for whole, part in zip(mask, held_out, strict=True):
        assert int(part.sum()) == round(0.4 * int(whole.sum()))
    assert seen[:, :, 14:18, 18:22].all()
    assert not torch.equal(split_samples(mask)[1], held_out)
    torch.manual_seed(5)
    one = split_samples(mask)[1]
    torch.manual_seed(5)
    assert torch.equal(one, split_samples(mask)[1])


def test_the_centre_is_held_out_more_often() -> None:
    held_out = split_samples(torch.ones(20, 1, 40, 40))[1].float().mean((0, 1))
    assert held_out[10:18, 10:18].mean() > 2 * held_out[:5, :5].mean()


def test_too_few_samples_are_refused() -> None:
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., 8:12, 8:12] = 1
    with pytest.raises(InputError, match="expected samples outside the innermost 4x4 for ssdu"):
        split_samples(mask)


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 1, 32, 32, dtype=torch.complex64, generator=generator)
    mask = torch.rand(2, 1, 32, 32, generator=generator) < 0.5
    mask[:, :, 14:18, 14:18] = True
    return {"kspace": fft2c(image) * mask, "mask": mask, "sensitivities": torch.ones_like(image), "image": image}


def test_the_loss_is_1_for_nothing_and_0_for_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Untrained, the network returns what it saw: nothing of the samples held out."""
    data = batch()
    network = UnrolledNetwork(num_cascades=1, regulariser_args={"channels": 4, "num_pools": 2})
    assert float(ssdu_loss(network, data)) == pytest.approx(1, abs=1e-4)
    monkeypatch.setattr(network, "run_cascades", lambda kspace, mask, maps: [data["image"]])
    assert float(ssdu_loss(network, data)) == pytest.approx(0, abs=1e-4)


def test_other_networks_are_refused() -> None:
    with pytest.raises(InputError, match="loss ssdu: expected UnrolledNetwork, .* got UNet"):
        ssdu_loss(UNet(channels=4, num_pools=2), batch())


def test_a_network_learns_without_the_full_scan(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    config = load_site_config(tmp_path / "site.yaml", "site-1")
    torch.manual_seed(0)
    network = UnrolledNetwork(num_cascades=2, regulariser_args={"channels": 8, "num_pools": 2})
    data = ReconstructionData(config, 0, network.sample_keys)
    task = ReconstructionTask(data, config, torch.device("cpu"), "ssdu")
    samples = [data.train[place] for place in range(2)]
    given = torch.utils.data.default_collate(
        [{**s, "target": torch.full_like(s["target"], torch.nan)} for s in samples]
    )
    assert torch.isfinite(task.loss(network, given))
    settings = TrainingSettings(optimizer="adam", lr=2e-3, lr_step=0, local_epochs=25, loss="ssdu")
    method = METHODS["local-only"]
    learner = Learner(network, [], task, settings, method.site(method.options()))
    before = task.evaluate(network, "test")["psnr"]
    for round_number in range(3):
        learner.train({}, round_number)
    assert task.evaluate(network, "test")["psnr"] > before + 0.5
