# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Networks that take an image as its negative: what is dark as bright, and the other way round.

Scanners and sequences differ in which tissue is the brighter one. Images are z-scored, so the negative of an image is
one of the other contrast; and as a convolution is linear, a network with the kernels of its first layers negated gives
for an image what it gave for the negative. Such a network is a plain one with the same keys: whatever predicts with it
need not know.
"""

import copy
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


@torch.no_grad()
def find_input_layers(network: nn.Module, shape: torch.Size) -> tuple[str, ...]:
    """Names of the convolutions that take the image itself.

    Args:
        network: plain; its state is left as it is.
        shape: of an image without the batch, [C, (D,) H, W].

    Returns:
        Empty where :func:`take_negatives` of them does not make the network one of negatives: where the image is also
        normalised, or added to what comes out.
    """
    network = copy.deepcopy(network).eval()
    first = next(network.parameters())
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)).to(first)
    names: list[str] = []

    def watch(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if inputs[0].shape == image.shape and torch.equal(inputs[0], image):
                names.append(name)

        return hook

    for name, module in network.named_modules(remove_duplicate=False):  # DynUNet has its layers under two names
        if isinstance(module, _ConvNd):
            module.register_forward_pre_hook(watch(name))
    network(image)
    layers = tuple(names)
    expected = network(-image)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    network.load_state_dict(take_negatives(state, layers))
    same = torch.allclose(network(image), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    return layers if same else ()


def take_negatives(state: Mapping[str, Tensor], layers: Collection[str]) -> dict[str, Tensor]:
    """The state with the kernels of these layers negated; the other tensors are the same ones.

    Args:
        state: of a network.
        layers: of :func:`find_input_layers`.
    """
    kernels = {f"{name}.weight" for name in layers}
    return {key: -value if key in kernels else value for key, value in state.items()}
