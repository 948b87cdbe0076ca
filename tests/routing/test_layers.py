# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Routed layers against a loop over samples that mixes the experts one by one and calls PyTorch's own layer."""

import copy
import math

import pytest
import torch
from torch import nn

from flare_mri.routing import layers
from flare_mri.routing.layers import RoutedConv, RoutedLayer, Router
from flare_mri.routing.mixing import PATCHED_VOXELS
from flare_mri.routing.network import ROUTED
from flare_mri.routing.patches import patches

BATCH, EXPERTS = 3, 4

CONVOLUTIONS = {
    "3x3": (nn.Conv2d(4, 6, 3, padding=1, bias=False), (20, 18)),
    "3x3 on few pixels": (nn.Conv2d(4, 6, 3, padding=1), (5, 6)),
    "3x3 on four pixels": (nn.Conv2d(4, 6, 3, padding=1), (2, 2)),
    "1x1": (nn.Conv2d(4, 2, 1), (16, 16)),
    "strided, dilated, not square": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(2, 1)), (15, 17)),
    "dilated on few pixels": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(2, 1)), (7, 5)),
    "same padding": (nn.Conv2d(4, 6, 4, padding="same"), (13, 16)),
    "valid padding": (nn.Conv2d(4, 6, 3, padding="valid"), (6, 6)),
    "reflect padding": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (16, 13)),
    "circular padding": (nn.Conv2d(4, 6, 3, padding=(2, 1), padding_mode="circular"), (5, 5)),
    "groups": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (12, 12)),
    "depthwise on few pixels": (nn.Conv2d(4, 4, 3, padding=1, groups=4), (4, 4)),
    "3x3x3": (nn.Conv3d(4, 6, 3, padding=1, bias=False), (6, 5, 7)),
    "3x3x3 on few voxels": (nn.Conv3d(4, 6, 3, padding=1), (2, 3, 4)),
    "3x3x3 on one voxel": (nn.Conv3d(4, 6, 3, padding=1), (1, 1, 1)),
    "1x1x1": (nn.Conv3d(4, 2, 1), (6, 6, 6)),
    "3D, strided, dilated, not cubic": (
        nn.Conv3d(4, 6, (3, 2, 1), stride=(2, 1, 3), padding=(2, 1, 0), dilation=(2, 1, 1)),
        (7, 6, 9),
    ),
    "3D, strided, dilated on few voxels": (
        nn.Conv3d(4, 6, (3, 2, 1), stride=(2, 1, 3), padding=(2, 1, 0), dilation=(2, 1, 1)),
        (3, 4, 3),
    ),
    "3D, same padding": (nn.Conv3d(4, 6, (3, 4, 3), padding="same"), (4, 5, 6)),
    "3D, reflect padding": (nn.Conv3d(4, 6, 3, padding=1, padding_mode="reflect"), (3, 3, 4)),
    "3D, groups": (nn.Conv3d(4, 6, 3, padding=1, groups=2), (3, 4, 4)),
}
TRANSPOSED = {
    "upsampling": (nn.ConvTranspose2d(4, 6, 2, stride=2), (8, 9)),
    "upsampling without bias": (nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), (3, 3)),
    "overlapping": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (7, 8)),
    "groups, dilation": (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2, dilation=2), (7, 8)),
    "tiles that are not square": (nn.ConvTranspose2d(4, 6, (2, 3), stride=(2, 3)), (4, 4)),
    "3D, upsampling": (nn.ConvTranspose3d(4, 6, 2, stride=2), (3, 4, 5)),
    "3D, tiles that are not cubic": (nn.ConvTranspose3d(4, 6, (1, 2, 3), stride=(1, 2, 3), bias=False), (3, 4, 2)),
    "3D, overlapping": (nn.ConvTranspose3d(4, 6, 3, stride=2, padding=1, output_padding=1), (3, 2, 4)),
    "3D, overlapping, groups, dilation": (nn.ConvTranspose3d(4, 6, 2, stride=2, groups=2, dilation=2), (3, 4, 2)),
}
LINEAR = {
    "one position": (nn.Linear(4, 6), ()),
    "tokens": (nn.Linear(4, 6, bias=False), (40,)),
    "image of tokens": (nn.Linear(4, 6), (5, 7)),
}


def _stacked(layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor | None]:
    weights = torch.randn(EXPERTS, *layer.weight.shape)
    return weights, None if layer.bias is None else torch.randn(EXPERTS, len(layer.bias))


def _routed(layer: nn.Module) -> RoutedLayer:
    return ROUTED[type(layer)](layer, *_stacked(layer)).eval()


def _naive(routed: RoutedLayer, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    outputs = []
    for sample in x:
        pooled = (
            sample.reshape(-1, sample.shape[-1]).mean(0) if isinstance(layer, nn.Linear) else sample.flatten(1).mean(1)
        )
        hidden = pooled @ routed.router.fc1.weight.T + routed.router.fc1.bias
        routing = torch.sigmoid(hidden @ routed.router.fc2.weight.T + routed.router.fc2.bias)
        state = {"weight": sum(r * w for r, w in zip(routing, routed.weights, strict=True))}
        if routed.biases is not None:
            state["bias"] = sum(r * b for r, b in zip(routing, routed.biases, strict=True))
        outputs.append(torch.func.functional_call(layer, state, (sample[None],)))
    return torch.cat(outputs)


def _input(layer: nn.Module, size: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(BATCH, *size, 4) if isinstance(layer, nn.Linear) else torch.randn(BATCH, 4, *size)


CASES = {**CONVOLUTIONS, **TRANSPOSED, **LINEAR}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", CASES)
def test_layer_equals_a_loop_over_samples(case):
    torch.manual_seed(0)
    layer, size = CASES[case]
    routed, x = _routed(layer), _input(layer, size)
    torch.testing.assert_close(routed(x), _naive(routed, layer, x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(routed(x[:1]), _naive(routed, layer, x[:1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_one_hot_routing_is_that_expert(case):
    torch.manual_seed(0)
    layer, size = CASES[case]
    routed, x = _routed(layer), _input(layer, size)
    routed.router.fixed = torch.eye(EXPERTS)[1]
    expert = {"weight": routed.weights[1]} | ({} if routed.biases is None else {"bias": routed.biases[1]})
    torch.testing.assert_close(routed(x), torch.func.functional_call(layer, expert, (x,)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_those_of_the_loop(case):
    torch.manual_seed(0)
    layer, size = CASES[case]
    routed, x = _routed(layer).double(), _input(layer, size).double().requires_grad_()
    inputs = [x, *routed.router.parameters()]
    ours, loop = routed(x), _naive(routed, layer, x)
    weight = torch.randn_like(loop)
    expected = torch.autograd.grad((loop * weight).sum(), inputs)
    for got, want in zip(torch.autograd.grad((ours * weight).sum(), inputs), expected, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("case", CASES)
def test_what_follows_may_work_in_place(case):
    layer, size = CASES[case]
    torch.manual_seed(3)
    routed, x = _routed(layer), _input(layer, size)
    gradients = []
    for in_place in (False, True):
        y = routed(x)
        y = y.add_(1) if in_place else y + 1
        gradients.append(torch.autograd.grad(y.square().sum(), routed.router.fc2.weight)[0])
    assert torch.equal(*gradients)


def test_experts_are_buffers_and_the_router_learns():
    routed = _routed(nn.Conv2d(4, 6, 3))
    assert {name for name, _ in routed.named_buffers()} == {"weights", "biases"}
    assert {name for name, _ in routed.named_parameters()} == {
        "router.fc1.weight",
        "router.fc1.bias",
        "router.fc2.weight",
        "router.fc2.bias",
    }


@pytest.mark.parametrize(
    ("plain", "size", "order"),
    [
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (3, 3), (0, 2, 3, 4, 1)),
        (nn.Conv2d(4, 6, 3, padding=1), (4, 4), (0, 1, 3, 4, 2)),
        (nn.Conv2d(4, 6, 3, padding=1), (32, 32), (0, 1, 2, 3, 4)),
        (nn.ConvTranspose3d(4, 6, 2, stride=2), (3, 3, 3), (0, 2, 3, 4, 5, 1)),
        (nn.Conv3d(4, 6, 3, padding=1), (4, 4, 4), (0, 1, 3, 4, 5, 2)),
        (nn.Conv3d(4, 6, 3, padding=1), (6, 6, 6), (0, 1, 2, 3, 4, 5)),
    ],
)
def test_experts_stay_in_the_memory_order_of_their_product(plain, size, order):
    routed, x = _routed(plain), torch.randn(2, 4, *size)
    shape = routed.weights.shape
    expected = routed(x)
    kept = routed.weights
    assert torch.equal(routed(x), expected) and routed.weights is kept, "brought into order once"
    for layer in (routed, copy.deepcopy(routed).double()):
        assert layer.weights.shape == shape and layer.weights.permute(order).is_contiguous()
    other = _routed(plain)
    other.load_state_dict(routed.state_dict())
    assert torch.equal(other(x), expected)


@pytest.mark.parametrize("size", [(6, 6, 6), (3, 4, 5)])
@pytest.mark.parametrize("learning", [True, False])
def test_patches_of_a_large_volume_are_not_copied_even_for_one_expert(size, learning, monkeypatch):
    copied = []
    monkeypatch.setattr(layers, "patches", lambda *args: copied.append(args) or patches(*args))
    plain = nn.Conv3d(4, 6, 3, padding=1)
    routed = RoutedConv(plain, plain.weight.detach()[None], plain.bias.detach()[None])
    with torch.set_grad_enabled(learning):
        assert routed(torch.randn(2, 4, *size)).shape == (2, 6, *size)
    assert bool(copied) == (math.prod(size) <= PATCHED_VOXELS)


def test_a_layer_learns_after_inference_mode():
    routed, x = _routed(nn.Conv2d(4, 6, 3, padding=1)), torch.randn(2, 4, 4, 4)
    with torch.inference_mode():
        routed(x)
    routed(x).sum().backward()
    assert routed.router.fc2.weight.grad is not None


def test_a_layer_serves_images_of_several_sizes():
    routed = _routed(nn.Conv2d(4, 6, 3, padding=1))
    images = [torch.randn(2, 4, size, size) for size in (4, 32, 4)]
    images[2] = images[0]
    small, _, again = (routed(x) for x in images)
    assert torch.equal(small, again)


def test_router_has_the_published_form():
    router = Router(features=5, num_experts=3, dropout=0.2, hidden_ratio=2)
    assert router.fc1.weight.shape == (10, 5) and router.fc2.weight.shape == (3, 10) and router.dropout.p == 0.2
    x = torch.randn(4, 5)
    assert not torch.equal(router.train()(x), router(x)), "dropout must act while training"
    routing = router.eval()(x)
    assert torch.equal(routing, router(x)) and routing.shape == (4, 3) and ((routing > 0) & (routing < 1)).all()
