# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Every way of mixing against one plain einsum, values and gradients."""

import pytest
import torch

from flare_mri.routing import mixing


def _problem(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    routing = torch.rand(5, 3, generator=generator, dtype=dtype)
    experts = torch.randn(3, 7, 11, generator=generator, dtype=dtype)
    columns = torch.randn(5, 6, 11, generator=generator, dtype=dtype)
    return routing, experts, columns


@pytest.mark.parametrize("piece", [1, 5 * 11 * 2, 10**6], ids=["row by row", "uneven pieces", "one piece"])
@pytest.mark.parametrize("product", [mixing.kernel_product, mixing.output_product])
def test_products_and_their_gradients_equal_the_plain_sum(product, piece, monkeypatch):
    monkeypatch.setattr(mixing, "PIECE", piece)
    monkeypatch.setattr(mixing, "PIECE_SAMPLES", 2 if piece < 10**6 else 8)
    routing, experts, columns = _problem()
    plain = torch.einsum("be,eok,blk->bol", routing, experts, columns)
    weight = torch.randn_like(plain)

    inputs = [routing.clone().requires_grad_(), columns.clone().requires_grad_()]
    y = product(inputs[0], experts, inputs[1])
    torch.testing.assert_close(y, plain)
    gradients = torch.autograd.grad((y * weight).sum(), inputs)
    torch.testing.assert_close(gradients[0], torch.einsum("bol,eok,blk->be", weight, experts, columns))
    torch.testing.assert_close(gradients[1], torch.einsum("bol,be,eok->blk", weight, routing, experts))


def test_kernel_product_only_computes_the_gradients_asked_for():
    routing, experts, columns = _problem()
    mixing.kernel_product(routing.requires_grad_(), experts, columns).sum().backward()
    assert routing.grad is not None and columns.grad is None


def test_mix_is_the_weighted_sum_of_the_experts():
    routing, experts, _ = _problem()
    expected = sum(routing[:, e, None, None] * experts[e] for e in range(3))
    torch.testing.assert_close(mixing.mix(routing, experts), expected)


def test_choice_follows_the_size_of_the_output():
    assert mixing.choose(6, 1, as_patches=True) == "outputs"
    assert mixing.choose(6, 16, as_patches=True) == "patches"
    assert mixing.choose(6, 64 * 64, as_patches=True) == "grouped"
    assert mixing.choose(6, 1, as_patches=False) == "grouped"


def test_choice_counts_the_gradients_where_they_follow():
    assert mixing.choose(6, 16, as_patches=True, learning=True) == "outputs"
    assert mixing.choose(6, 64, as_patches=True, learning=True) == "patches"
    assert mixing.choose(6, 256, as_patches=True, learning=True) == "grouped"
    assert mixing.choose(6, 16, as_patches=False, learning=True) == "grouped"
