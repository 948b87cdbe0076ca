# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import sys

import pytest
import torch
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.physics.coil_sensitivities import (
    METHODS,
    centre_window,
    estimate_espirit,
    estimate_low_pass,
    estimate_sensitivities,
    fully_sampled_centre,
    normalise_sensitivities,
)
from multi_coil import Scan, columns, make_scan


def centre_plainly(mask: Tensor) -> tuple[int, int]:
    """All rectangles, one after the other."""
    height, width = mask.shape
    best = (0, 0, 0)
    for h in range(1, height + 1):
        for w in range(1, width + 1):
            top, left = height // 2 - h // 2, width // 2 - w // 2
            if mask[top : top + h, left : left + w].all():
                best = max(best, (min(h, w), h * w, h))
    return (0, 0) if not best[0] else (best[2], best[1] // best[2])


def test_the_centre_is_the_largest_rectangle() -> None:
    generator = torch.Generator().manual_seed(0)
    for size in ((12, 12), (9, 14), (11, 7)):
        masks = torch.rand(40, 1, *size, generator=generator) < torch.rand(40, 1, 1, 1, generator=generator)
        found = fully_sampled_centre(masks)
        for mask, box in zip(masks[:, 0], found.tolist(), strict=True):
            expected = centre_plainly(mask)
            assert (min(box), box[0] * box[1]) == (min(expected), expected[0] * expected[1])


def test_the_centre_of_columns_and_of_a_full_scan() -> None:
    assert fully_sampled_centre(columns((17, 32), 6, 8)).tolist() == [[17, 8]]
    assert fully_sampled_centre(torch.ones(2, 1, 6, 9)).tolist() == [[6, 9]] * 2
    window = centre_window(columns((17, 32), 6, 8))
    assert window.sum() == 17 * 8 and window[0, 0, :, 12:20].all()
    with pytest.raises(InputError, match="expected zero frequency to be sampled"):
        centre_window(torch.zeros(1, 1, 8, 8))


def agreement(maps: Tensor, scan: Scan) -> Tensor:
    """|sum of conj(S) S'| inside the object: 1 where maps agree up to a phase that all coils share."""
    inside = scan.image[0, 0].abs() > 0.15
    return (maps.conj() * scan.maps).sum(1).abs()[0][inside]


@pytest.mark.parametrize("size", [(64, 64), (63, 70)])
def test_low_pass_finds_the_maps_of_a_phantom(size: tuple[int, int]) -> None:
    scan = make_scan(size, 6, step=3, centre=16)
    found = agreement(estimate_low_pass(scan.kspace, scan.mask), scan)
    assert found.quantile(0.05) > 0.97 and found.max() <= 1 + 1e-5


@pytest.mark.parametrize("size", [(64, 64), (63, 70)])
def test_espirit_finds_the_maps_of_a_phantom(size: tuple[int, int]) -> None:
    pytest.importorskip("sigpy")
    scan = make_scan(size, 6, step=3, centre=16, noise=1e-3)
    found = agreement(estimate_espirit(scan.kspace, scan.mask), scan)
    assert found.quantile(0.05) > 0.99 and found.max() <= 1 + 1e-5


@pytest.mark.parametrize("method, crop", [("espirit", 0.9), ("low_pass", 0.05)])
def test_squares_sum_to_one_in_the_object_and_zero_outside(method: str, crop: float) -> None:
    if method == "espirit":
        pytest.importorskip("sigpy")
    scan = make_scan((64, 64), 6, step=3, centre=16, noise=1e-3)
    total = estimate_sensitivities(scan.kspace, scan.mask, method, crop).abs().square().sum(1)
    assert ((total - 1).abs().lt(1e-4) | total.eq(0)).all()
    assert total[0, 32, 32] > 0.5 and total[0, 0, 0] == 0
    whole = estimate_sensitivities(scan.kspace, scan.mask, method).abs().square().sum(1)
    torch.testing.assert_close(whole, torch.ones_like(whole), atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_any_unit_a_dead_coil_and_an_empty_slice(method: str) -> None:
    if method == "espirit":
        pytest.importorskip("sigpy")
    scan = make_scan((48, 48), 4, step=2, centre=16)
    maps = estimate_sensitivities(scan.kspace, scan.mask, method)
    torch.testing.assert_close(estimate_sensitivities(1e-4 * scan.kspace, scan.mask, method), maps, atol=1e-3, rtol=0)
    batch = torch.cat([scan.kspace, torch.zeros_like(scan.kspace)])
    batch[0, 0] = 0
    found = estimate_sensitivities(batch, scan.mask.expand(2, -1, -1, -1), method)
    assert found.isfinite().all() and not found[0, 0].any() and not found[1].any() and found[0, 1:].any()


def test_one_coil_has_ones() -> None:
    scan = make_scan((16, 16), 1)
    assert torch.equal(estimate_sensitivities(scan.kspace, scan.mask), torch.ones_like(scan.kspace))


def test_maps_are_normalised_within_a_support() -> None:
    maps = torch.randn(2, 3, 4, 5, dtype=torch.complex64)
    maps[0, :, 0, 0] = 0
    support = torch.ones(2, 1, 4, 5, dtype=torch.bool)
    support[1, 0, 2] = False
    total = normalise_sensitivities(maps, support).abs().square().sum(1)
    assert total[0, 0, 0] == 0 and not total[1, 2].any() and total[1, 0].allclose(torch.ones(5))


def test_what_cannot_be_done_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = make_scan((32, 32), 2, centre=6)
    with pytest.raises(InputError, match="expected one of espirit, low_pass, got 'x'"):
        estimate_sensitivities(scan.kspace, scan.mask, "x")
    monkeypatch.setitem(sys.modules, "sigpy.mri.app", None)
    with pytest.raises(
        InputError, match=r"ESPIRiT: expected the package sigpy, got no .*pip install 'flare-mri\[raw\]'"
    ):
        estimate_espirit(scan.kspace, scan.mask)


def test_espirit_wants_a_centre() -> None:
    pytest.importorskip("sigpy")
    scan = make_scan((32, 32), 2, centre=6)
    with pytest.raises(InputError, match="expected a fully sampled centre of at least 8x8 for ESPIRiT, got 6"):
        estimate_espirit(scan.kspace, scan.mask)
