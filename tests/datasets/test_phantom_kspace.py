# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from flare_mri.datasets.phantom_kspace import coil_sensitivities, simulate_coils


def numpy_images(kspace):
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, (-2, -1)), norm="ortho"), (-2, -1))


@pytest.mark.parametrize(("shape", "coils"), [((2, 24, 20), 8), ((1, 31, 33), 5), ((3, 16, 17), 1)])
def test_sensitivities_are_normalised_and_smooth(shape, coils):
    maps = coil_sensitivities(np.random.default_rng(0), shape, coils)
    assert maps.shape == (shape[0], coils, *shape[1:]) and maps.dtype == np.complex64
    np.testing.assert_allclose((np.abs(maps) ** 2).sum(1), 1, rtol=1e-5)
    if coils > 1:
        for axis in (2, 3):
            assert np.abs(np.diff(maps, axis=axis)).max() < 4 / shape[axis - 1]
        assert len({tuple(np.unravel_index(np.abs(coil).argmax(), coil.shape)) for coil in maps[0]}) == coils


def test_noiseless_coils_combine_to_the_magnitudes():
    magnitudes = np.random.default_rng(0).random((2, 21, 18))
    scan = simulate_coils(magnitudes, np.random.default_rng(1), coils=4, snr=float("inf"))
    images = numpy_images(scan.kspace)
    np.testing.assert_allclose(np.sqrt((np.abs(images) ** 2).sum(1)), magnitudes, atol=1e-5)
    np.testing.assert_allclose(images, scan.sensitivities * scan.images[:, None], atol=1e-5)
    assert np.abs(np.angle(scan.images)).std() > 0.05
    assert not scan.noise.any()


def test_noise_has_its_covariance_in_scan_and_noise_acquisition():
    magnitudes = np.zeros((6, 64, 64))
    magnitudes[0, 0, 0] = 1
    scan = simulate_coils(magnitudes, np.random.default_rng(1), coils=4, snr=10)
    clean = simulate_coils(magnitudes, np.random.default_rng(1), coils=4, snr=float("inf"))
    noise = (scan.kspace - clean.kspace).transpose(1, 0, 2, 3).reshape(4, -1)
    for samples, tolerance in ((noise, 0.03), (scan.noise, 0.12)):
        found = samples @ samples.conj().T / samples.shape[1]
        np.testing.assert_allclose(found, scan.covariance, atol=tolerance * np.abs(scan.covariance).max())
    assert np.trace(scan.covariance).real / 4 == pytest.approx(2 * 0.1**2)
    assert np.abs(scan.covariance[0, 1]) > 0.2 * np.abs(scan.covariance[0, 0])
