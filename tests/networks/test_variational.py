# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""MONAI's variational network through our door: equal to its own call, its encoders shared, masks checked."""

import pytest
import torch
from monai.apps.reconstruction.networks.nets.varnet import VariationalNetworkModel
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.networks import build_network, check_size, sample_keys, shared_keys

SPEC = {
    "path": "flare_mri.networks.variational.VariationalNetwork",
    "args": {"num_cascades": 2, "features": [4, 4, 4, 4, 4, 4], "sensitivity_features": [2, 2, 2, 2, 2, 2]},
}


def make_mask(step: int, width: int = 22, height: int = 18) -> Tensor:
    columns = torch.arange(width) % step == 0
    columns[width // 2 - 2 : width // 2 + 2] = True
    return columns.expand(1, 1, height, width).clone()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Two slices of three coils at odd-ish sizes, each with a mask of its own."""
    mask = torch.cat([make_mask(3), make_mask(4)])
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 18, 22, dtype=torch.complex64, generator=generator) * mask, mask


def test_every_slice_gets_what_monai_gives_with_its_mask(batch: tuple[Tensor, Tensor]) -> None:
    kspace, mask = batch
    network = build_network(SPEC, seed=0).eval()
    output = network(kspace, mask)
    assert output.shape == (2, 1, 18, 22)
    for i in range(2):
        expected = VariationalNetworkModel.forward(
            network, torch.view_as_real(kspace[i : i + 1]), mask[i : i + 1, :, :1, :, None]
        )
        torch.testing.assert_close(output[i], expected)


def test_all_parameters_learn(batch: tuple[Tensor, Tensor]) -> None:
    network = build_network(SPEC, seed=0)
    network(*batch).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_encoders_of_all_cascades_are_shared_and_nothing_else() -> None:
    shared = shared_keys(build_network(SPEC, seed=0), "encoder")
    parts = {".".join(key.split(".")[:4]) for key in shared}
    assert {part.split(".")[1] for part in parts} == {"0", "1"}
    assert not any("upcat" in key or "dc_weight" in key or "sensitivity" in key for key in shared)
    assert any("down_4" in key for key in shared) and any("conv_0" in key for key in shared)


def test_it_asks_for_kspace_and_mask_and_is_not_too_large() -> None:
    assert sample_keys(SPEC) == ("kspace", "mask")
    check_size(SPEC)


@pytest.mark.parametrize("kind", ["radial", "full", "no centre"])
def test_masks_that_it_cannot_take_are_refused(batch: tuple[Tensor, Tensor], kind: str) -> None:
    kspace, mask = batch
    if kind == "radial":
        mask = mask.clone()
        mask[0, 0, 0, 0] ^= True
    else:
        mask = torch.ones_like(mask) if kind == "full" else mask & ~make_mask(100)
    with pytest.raises(InputError, match="network: expected a mask"):
        build_network(SPEC, seed=0)(kspace, mask)


def test_features_are_checked() -> None:
    with pytest.raises(InputError, match="features: expected 6 numbers of channels, got 2"):
        build_network({"path": SPEC["path"], "args": {"features": [4, 4]}}, seed=0)
