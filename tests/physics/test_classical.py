# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from flare_mri.physics.classical import cg_sense, l1_wavelet, root_sum_of_squares
from flare_mri.physics.coil_sensitivities import estimate_espirit
from multi_coil import Scan, make_scan, psnr


@pytest.fixture(scope="module")
def scan() -> Scan:
    return make_scan((64, 63), 6, step=3, centre=12, noise=0.01)


def test_root_sum_of_squares_of_a_full_scan_is_the_image(scan: Scan) -> None:
    full = make_scan((64, 63), 6)
    torch.testing.assert_close(root_sum_of_squares(full.full), full.image.abs(), atol=1e-5, rtol=0)


def test_cg_sense_beats_zero_filling(scan: Scan) -> None:
    zero_filled = psnr(root_sum_of_squares(scan.kspace), scan.image)
    assert psnr(cg_sense(scan.kspace, scan.mask, scan.maps), scan.image) > zero_filled + 5


def test_cg_sense_is_sigpys(scan: Scan) -> None:
    app = pytest.importorskip("sigpy.mri.app")
    solver = app.SenseRecon(
        scan.kspace[0].numpy(), scan.maps[0].numpy(), lamda=0.02, weights=scan.mask[0].float().numpy(), max_iter=30,
        show_pbar=False,
    )  # fmt: skip
    expected = torch.from_numpy(solver.run())
    found = cg_sense(scan.kspace, scan.mask, scan.maps, penalty=0.02, iterations=30)[0, 0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_l1_espirit_beats_zero_filling_and_cg_sense() -> None:
    pytest.importorskip("sigpy")
    scan = make_scan((96, 95), 6, step=3, centre=16, noise=0.01)
    maps = estimate_espirit(scan.kspace, scan.mask)
    sparse = psnr(l1_wavelet(scan.kspace, scan.mask, maps, penalty=0.003), scan.image)
    assert sparse > psnr(cg_sense(scan.kspace, scan.mask, maps), scan.image) + 1
    assert sparse > psnr(root_sum_of_squares(scan.kspace), scan.image) + 5


def test_lambda_means_the_same_in_any_unit(scan: Scan) -> None:
    pytest.importorskip("sigpy")
    image = l1_wavelet(scan.kspace, scan.mask, scan.maps, iterations=20)
    scaled = l1_wavelet(1000 * scan.kspace, scan.mask, scan.maps, iterations=20)
    torch.testing.assert_close(scaled / 1000, image, atol=1e-5, rtol=1e-4)
    other = l1_wavelet(scan.kspace, scan.mask, scan.maps, penalty=0.03, iterations=20)
    assert not torch.allclose(other, image, atol=1e-3)


def test_samples_of_a_batch_are_reconstructed_each_by_itself(scan: Scan) -> None:
    pytest.importorskip("sigpy")
    batch = torch.cat([100 * scan.kspace, torch.zeros_like(scan.kspace), scan.kspace])
    maps = scan.maps.expand(3, -1, -1, -1)
    for method in (l1_wavelet, cg_sense):
        found = method(batch, scan.mask, maps, iterations=5)
        alone = method(scan.kspace, scan.mask, scan.maps, iterations=5)
        torch.testing.assert_close(found[0], 100 * alone[0], atol=1e-3, rtol=1e-4)
        assert not found[1].any()
        torch.testing.assert_close(found[2], alone[0], atol=1e-5, rtol=1e-4)
