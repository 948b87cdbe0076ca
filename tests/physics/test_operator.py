# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor

from flare_mri.errors import InputError
from flare_mri.physics import SenseOperator, fft2c
from multi_coil import coil_maps

CASES = [(1, (8, 8)), (3, (7, 10)), (4, (9, 5)), (8, (16, 11))]


def make(
    coils: int, size: tuple[int, int], dtype: torch.dtype = torch.complex64
) -> tuple[SenseOperator, Tensor, Tensor]:
    """An operator of two samples with masks of their own, its sensitivities and its masks."""
    generator = torch.Generator().manual_seed(coils)
    maps = coil_maps(coils, size).expand(2, -1, -1, -1) * torch.tensor([1, 1j]).view(2, 1, 1, 1)
    mask = torch.rand(2, 1, *size, generator=generator) < 0.4
    return SenseOperator(maps, mask), maps, mask


@pytest.mark.parametrize("coils, size", CASES)
def test_forward_is_the_equation(coils: int, size: tuple[int, int]) -> None:
    operator, maps, mask = make(coils, size)
    image = torch.randn(2, 1, *size, dtype=torch.complex64)
    torch.testing.assert_close(operator.forward(image), mask * fft2c(maps * image))


@pytest.mark.parametrize("coils, size", CASES)
def test_dot_product(coils: int, size: tuple[int, int]) -> None:
    operator, _, _ = make(coils, size)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, *size, dtype=torch.complex64, generator=generator)
    kspace = torch.randn(2, coils, *size, dtype=torch.complex64, generator=generator)
    one = (operator.forward(image).conj() * kspace).sum((1, 2, 3))
    other = (image.conj() * operator.adjoint(kspace)).sum((1, 2, 3))
    scale = torch.linalg.vector_norm(image) * torch.linalg.vector_norm(kspace)
    assert ((one - other).abs() / scale).max() < 1e-6 and one.abs().min() > 0


@pytest.mark.parametrize("coils, size", CASES)
def test_normal_is_adjoint_of_forward_with_eigenvalues_up_to_one(coils: int, size: tuple[int, int]) -> None:
    operator, _, _ = make(coils, size)
    image = torch.randn(2, 1, *size, dtype=torch.complex64)
    torch.testing.assert_close(operator.normal(image), operator.adjoint(operator.forward(image)))
    assert torch.linalg.vector_norm(operator.normal(image)) <= torch.linalg.vector_norm(image)


def test_the_adjoint_does_not_look_at_what_was_not_sampled() -> None:
    operator, _, mask = make(3, (7, 10))
    kspace = torch.randn(2, 3, 7, 10, dtype=torch.complex64)
    assert torch.equal(operator.adjoint(kspace), operator.adjoint(kspace + 5 * ~mask))


def test_gradients() -> None:
    maps = coil_maps(2, (3, 4)).to(torch.complex128).requires_grad_()
    image = torch.randn(1, 1, 3, 4, dtype=torch.complex128, requires_grad=True)
    kspace = torch.randn(1, 2, 3, 4, dtype=torch.complex128, requires_grad=True)
    mask = torch.tensor([1, 0, 1, 1]).expand(1, 1, 3, 4)
    for method, argument in (("forward", image), ("adjoint", kspace), ("normal", image)):
        call = lambda x, s, name=method: getattr(SenseOperator(s, mask), name)(x)  # noqa: E731
        assert torch.autograd.gradcheck(call, (argument, maps))


def test_what_does_not_fit_is_refused() -> None:
    maps, mask = coil_maps(3, (8, 8)), torch.ones(1, 1, 8, 8)
    for wrong in (maps[0], maps.abs()):
        with pytest.raises(InputError, match="coil sensitivities: expected complex"):
            SenseOperator(wrong, mask)
    for wrong in (mask[0], mask[..., :4], mask.expand(2, -1, -1, -1), mask[..., :1, :]):
        with pytest.raises(InputError, match="mask: expected 0 and 1"):
            SenseOperator(maps, wrong)
    with pytest.raises(InputError, match="k-space: expected complex"):
        SenseOperator(maps, mask).adjoint(torch.zeros(1, 2, 8, 8, dtype=torch.complex64))
