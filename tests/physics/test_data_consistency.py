# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.physics import SenseOperator, fft2c, ifft2c
from flare_mri.physics.conjugate_gradients import conjugate_gradients
from flare_mri.physics.data_consistency import (
    DATA_CONSISTENCY,
    ConjugateGradientDataConsistency,
    HardDataConsistency,
    SoftDataConsistency,
)
from multi_coil import Scan, make_scan


@pytest.fixture(params=[(1, (9, 12)), (4, (10, 7))], ids=["one coil", "four coils"])
def scan(request: pytest.FixtureRequest) -> Scan:
    coils, size = request.param
    return make_scan(size, coils, step=2, centre=3)


def apply(module: torch.nn.Module, scan: Scan, image: Tensor) -> Tensor:
    operator = SenseOperator(scan.maps, scan.mask)
    return module(image, operator.adjoint(scan.kspace), operator)


def prediction(scan: Scan) -> Tensor:
    noise = torch.randn(scan.image.shape, dtype=scan.image.dtype, generator=torch.Generator().manual_seed(1))
    return scan.image + 0.3 * noise


def mixed(scan: Scan, image: Tensor, weight: float) -> Tensor:
    """Coil by coil, as the papers write it."""
    predicted = fft2c(scan.maps * image)
    kspace = torch.where(scan.mask, weight * scan.kspace + (1 - weight) * predicted, predicted)
    return (scan.maps.conj() * ifft2c(kspace)).sum(1, keepdim=True)


def test_hard_replaces_samples_in_every_coil(scan: Scan) -> None:
    image = prediction(scan)
    torch.testing.assert_close(apply(HardDataConsistency(), scan, image), mixed(scan, image, 1), atol=1e-5, rtol=1e-5)


def test_hard_keeps_the_samples_of_one_coil_and_the_prediction_elsewhere() -> None:
    scan = make_scan((9, 12), 1, step=2, centre=3)
    image = prediction(scan)
    kspace = fft2c(scan.maps * apply(HardDataConsistency(), scan, image))
    torch.testing.assert_close(kspace, torch.where(scan.mask, scan.kspace, fft2c(scan.maps * image)), atol=2e-6, rtol=0)


@pytest.mark.parametrize("weight", [0.25, 0.9])
def test_soft_weighs_samples(scan: Scan, weight: float) -> None:
    image = prediction(scan)
    expected = mixed(scan, image, weight)
    torch.testing.assert_close(apply(SoftDataConsistency(weight), scan, image), expected, atol=1e-5, rtol=1e-5)


def test_conjugate_gradients_solve_what_a_dense_solver_does() -> None:
    scan, weight = make_scan((5, 4), 2, step=2, centre=1), 0.1
    operator, image = SenseOperator(scan.maps.to(torch.complex128), scan.mask), prediction(scan).to(torch.complex128)
    units = torch.eye(20, dtype=torch.complex128).view(20, 1, 5, 4)
    matrix = torch.stack([operator.normal(unit[None]).flatten() for unit in units], dim=1)
    right = operator.adjoint(scan.kspace.to(torch.complex128)) + weight * image
    expected = torch.linalg.solve(matrix + weight * units.view(20, 20), right.flatten())
    module = ConjugateGradientDataConsistency(weight, iterations=20).double()
    solution = module(image, operator.adjoint(scan.kspace.to(torch.complex128)), operator)
    torch.testing.assert_close(solution.flatten(), expected, atol=1e-7, rtol=1e-6)


def test_conjugate_gradients_of_a_sample_do_not_depend_on_its_batch() -> None:
    scales = torch.tensor([1.0, 50.0, 0.0]).view(3, 1)
    diagonal = torch.linspace(0.1, 1, 6)
    right = scales * torch.arange(1.0, 7)
    for iterations in (2, 6, 30):  # far beyond the solution too: nothing divides by zero
        together = conjugate_gradients(lambda x: diagonal * x, right, iterations)
        for one, alone in zip(together, right, strict=True):
            found = conjugate_gradients(lambda x: diagonal * x, alone[None], iterations)
            torch.testing.assert_close(one, found[0])
    torch.testing.assert_close(together, right / diagonal, atol=1e-3, rtol=1e-4)


def test_conjugate_gradients_stop_where_all_samples_are_solved() -> None:
    calls: list[int] = []

    def system(x: Tensor) -> Tensor:
        calls.append(1)
        return 2 * x

    right = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    torch.testing.assert_close(conjugate_gradients(system, right, 50), right / 2)
    assert len(calls) == 1, "a multiple of the identity takes one step"
    torch.testing.assert_close(conjugate_gradients(system, right, 50, start=right / 2), right / 2)
    assert len(calls) == 2, "a solution takes none"


def test_of_one_coil_conjugate_gradients_are_the_soft_consistency() -> None:
    scan, weight = make_scan((9, 12), 1, step=2, centre=3), 0.25
    image = prediction(scan)
    found = apply(ConjugateGradientDataConsistency(weight), scan, image)
    torch.testing.assert_close(found, mixed(scan, image, 1 / (1 + weight)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", DATA_CONSISTENCY)
def test_gradients(name: str) -> None:
    scan = make_scan((4, 3), 2, step=2, centre=1)
    module = DATA_CONSISTENCY[name]().double()
    if isinstance(module, ConjugateGradientDataConsistency):
        module.iterations = 40  # the gradient is that of the solution
    image = prediction(scan).to(torch.complex128).requires_grad_()
    maps = scan.maps.to(torch.complex128).requires_grad_()
    parameters = list(module.parameters())

    def run(image: Tensor, maps: Tensor, *_: Tensor) -> Tensor:
        operator = SenseOperator(maps, scan.mask)
        return module(image, operator.adjoint(scan.kspace.to(torch.complex128)), operator)

    assert torch.autograd.gradcheck(run, (image, maps, *parameters), check_undefined_grad=False)


@pytest.mark.parametrize("name", DATA_CONSISTENCY)
def test_the_truth_stays_as_it_is(scan: Scan, name: str) -> None:
    module = DATA_CONSISTENCY[name]()
    torch.testing.assert_close(apply(module, scan, scan.image), scan.image, atol=1e-5, rtol=1e-5)


def test_strong_and_weak_weights_give_prediction_and_measurement(scan: Scan) -> None:
    image = prediction(scan)
    far = ConjugateGradientDataConsistency(1e4, iterations=30)
    torch.testing.assert_close(apply(far, scan, image), image, atol=1e-3, rtol=0)
    near = ConjugateGradientDataConsistency(1e-5, iterations=200)
    operator = SenseOperator(scan.maps, scan.mask)
    torch.testing.assert_close(operator.forward(apply(near, scan, image)), scan.kspace, atol=1e-2, rtol=0)


def test_weights_are_checked() -> None:
    for weight in (0, 1, float("nan")):
        with pytest.raises(InputError, match="weight: expected above 0 and below 1"):
            SoftDataConsistency(weight)
    with pytest.raises(InputError, match="weight: expected above 0, got 0"):
        ConjugateGradientDataConsistency(0)
    with pytest.raises(InputError, match="iterations: expected 1 to 1000"):
        ConjugateGradientDataConsistency(iterations=0)
