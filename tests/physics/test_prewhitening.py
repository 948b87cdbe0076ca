# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from flare_mri.errors import InputError
from flare_mri.physics.prewhitening import dead_coils, noise_covariance, prewhiten, whitening_matrix

MIXING = torch.tensor([[2.0, 0, 0], [0.7, 1, 0], [0.2, -0.4, 0.5]], dtype=torch.complex64)
MIXING = MIXING + 1j * torch.tensor([[0, 0, 0], [0.3, 0, 0], [-0.2, 0.1, 0]])


def noise(seed: int, samples: int = 20000) -> torch.Tensor:
    return MIXING @ torch.randn(3, samples, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def test_the_covariance_is_that_of_the_noise() -> None:
    expected = (MIXING @ MIXING.mH).to(torch.complex128)
    torch.testing.assert_close(noise_covariance(noise(0)), expected, atol=0.1, rtol=0)
    torch.testing.assert_close(noise_covariance(noise(0) + (3 - 2j)), noise_covariance(noise(0)), atol=1e-5, rtol=0)


def test_whitened_noise_has_identity_covariance() -> None:
    matrix = whitening_matrix(noise_covariance(noise(0)))
    same = noise_covariance(matrix.to(torch.complex64) @ noise(0))
    torch.testing.assert_close(same, torch.eye(3, dtype=torch.complex128), atol=1e-5, rtol=0)
    kspace = prewhiten(noise(1).view(3, 100, 200), matrix)
    other = noise_covariance(kspace.flatten(1))
    torch.testing.assert_close(other, torch.eye(3, dtype=torch.complex128), atol=0.05, rtol=0)
    assert kspace.dtype == torch.complex64


def test_leading_axes_are_kept() -> None:
    matrix, kspace = whitening_matrix(noise_covariance(noise(0))), torch.randn(2, 4, 3, 5, 6, dtype=torch.complex64)
    torch.testing.assert_close(prewhiten(kspace, matrix)[1, 2], prewhiten(kspace[1, 2], matrix))


def test_a_dead_coil_is_named_and_left_at_zero() -> None:
    samples = noise(0)
    samples[1] = 0
    covariance = noise_covariance(samples)
    assert dead_coils(covariance) == [1]
    matrix = whitening_matrix(covariance)
    assert not matrix[1].any() and not matrix[:, 1].any()
    whitened = noise_covariance(matrix.to(torch.complex64) @ samples)
    torch.testing.assert_close(whitened, torch.diag(torch.tensor([1, 0, 1])).to(torch.complex128), atol=1e-5, rtol=0)


def test_what_is_no_noise_acquisition_is_refused() -> None:
    for wrong in (noise(0, 5), noise(0).real, noise(0)[0]):
        with pytest.raises(InputError, match="noise acquisition: expected"):
            noise_covariance(wrong)
    with pytest.raises(InputError, match="expected finite samples"):
        noise_covariance(noise(0) * float("nan"))
    doubled = torch.cat([noise(0), noise(0)[:1]])
    with pytest.raises(InputError, match="expected independent coils"):
        whitening_matrix(noise_covariance(doubled))
    with pytest.raises(InputError, match="expected the 4 coils of the scan, got 3"):
        prewhiten(torch.zeros(4, 8, 8, dtype=torch.complex64), whitening_matrix(noise_covariance(noise(0))))
