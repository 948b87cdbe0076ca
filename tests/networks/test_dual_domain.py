# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flare_mri.networks import DualDomainUNet, shared_keys


def _ifft2c(kspace: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    shifted = np.fft.ifftshift(kspace, axes=axes)
    return np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=axes)


def _fft2c(image: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    shifted = np.fft.ifftshift(image, axes=axes)
    return np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=axes)


def as_tensor(kspace):
    """As samples hold it: one coil, complex64."""
    return torch.from_numpy(kspace[:, None].astype(np.complex64))


def _sample(size, batch=2, seed=0):
    """(complex k-space, the network's k-space, mask, magnitude image) of smooth random images."""
    rng = np.random.default_rng(seed)
    image = np.abs(_ifft2c(np.pad(rng.standard_normal((batch, 6, 6)), ((0, 0), (5, size[0] - 11), (5, size[1] - 11)))))
    mask = rng.random((batch, *size)) < 0.5
    kspace = _fft2c(image) * mask
    return kspace, as_tensor(kspace), torch.from_numpy(mask)[:, None], image


@pytest.mark.parametrize("size", [(16, 16), (17, 20)])
def test_untrained_it_returns_the_zero_filled_image(size):
    kspace, measured, mask, _ = _sample(size)
    output = DualDomainUNet(channels=4, num_pools=2)(measured, mask)
    np.testing.assert_allclose(output[:, 0].detach().numpy(), np.abs(_ifft2c(kspace)), atol=1e-5)


class _Constant(torch.nn.Module):
    """Stands in for a decoder: what the network would add is known exactly."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, features):
        return self.value


def test_data_consistency_and_transforms_equal_numpy():
    kspace, measured, mask, _ = _sample((17, 20))
    network = DualDomainUNet(channels=2, num_pools=1)
    added_k, added_i = torch.randn(2, 2, 2, 17, 20)
    network.decoder = torch.nn.ModuleDict({"kspace": _Constant(added_k), "image": _Constant(added_i)})
    complex_k, complex_i = (a[:, 0].numpy() + 1j * a[:, 1].numpy() for a in (added_k, added_i))
    sampled = mask[:, 0].numpy()
    first = _ifft2c(np.where(sampled, kspace, complex_k))
    expected = np.abs(_ifft2c(np.where(sampled, kspace, _fft2c(first + complex_i))))
    np.testing.assert_allclose(network(measured, mask)[:, 0].detach().numpy(), expected, atol=1e-5)


def test_fully_sampled_kspace_is_returned_whatever_the_weights():
    _, _, _, image = _sample((16, 16))
    kspace = _fft2c(image)
    network = DualDomainUNet(channels=2, num_pools=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    measured = as_tensor(kspace)
    output = network(measured, torch.ones(2, 1, 16, 16, dtype=torch.bool))
    np.testing.assert_allclose(output[:, 0].detach().numpy(), image, atol=1e-4)


def test_untrained_it_returns_the_zero_filled_volume():
    rng = np.random.default_rng(0)
    kspace = (rng.standard_normal((1, 9, 8, 10)) + 1j * rng.standard_normal((1, 9, 8, 10))) * (
        rng.random((9, 8, 10)) < 0.5
    )
    measured = as_tensor(kspace)
    output = DualDomainUNet(channels=2, num_pools=2, spatial_dims=3)(
        measured, torch.ones(1, 1, 9, 8, 10, dtype=torch.bool)
    )
    axes = (-3, -2, -1)
    shifted = np.fft.ifftn(np.fft.ifftshift(kspace, axes=axes), axes=axes, norm="ortho")
    expected = np.abs(np.fft.fftshift(shifted, axes=axes))
    np.testing.assert_allclose(output[:, 0].detach().numpy(), expected, atol=1e-5)


def test_trains_in_both_domains():
    torch.manual_seed(0)
    _, measured, mask, image = _sample((16, 16))
    target = torch.from_numpy(image[:, None]).float()
    network = DualDomainUNet(channels=4, num_pools=2, decoder="refined")
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = F.mse_loss(network(measured, mask), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_gradient_is_finite_on_an_empty_image():
    network = DualDomainUNet(channels=2, num_pools=1)
    network(torch.zeros(1, 1, 8, 8, dtype=torch.complex64), torch.ones(1, 1, 8, 8, dtype=torch.bool)).sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in network.parameters())


def test_both_encoders_are_shared_and_no_decoder():
    network = DualDomainUNet(channels=2, num_pools=1)
    assert network.sample_keys == ("kspace", "mask")
    parts = {tuple(key.split(".")[:2]) for key in network.state_dict()}
    assert parts == {(coder, domain) for coder in ("encoder", "decoder") for domain in ("kspace", "image")}
    assert {tuple(key.split(".")[:2]) for key in shared_keys(network, "encoder")} == {
        ("encoder", "kspace"),
        ("encoder", "image"),
    }
