# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The U-Nets against PyTorch's functions and layers written one after the other: to the bit, from the same seed."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flare_mri.networks import DualDomainUNet, UNet, build_network

FEDMRI: dict[str, Any] = {}
IOPFL = {
    "in_channels": 3,
    "out_channels": 2,
    "norm": "batch",
    "negative_slope": 0.0,
    "pool": "max",
    "upsampling": "linear",
}
CHANNELS, POOLS = 4, 2
SIZE = {2: (19, 24), 3: (9, 12, 11)}  # odd ones, of which pooling drops the last entries


def plainly(x: Tensor, state: dict[str, Tensor], iopfl: bool, dims: int, prefix: str = "") -> Tensor:
    """A U-Net's output from its weights alone: FedMRI's (``iopfl`` False) or IOP-FL's, in training mode."""
    conv, conv_up = {2: (F.conv2d, F.conv_transpose2d), 3: (F.conv3d, F.conv_transpose3d)}[dims]
    average, maximum = {2: (F.avg_pool2d, F.max_pool2d), 3: (F.avg_pool3d, F.max_pool3d)}[dims]
    down, coders = maximum if iopfl else average, [f"{coder}{prefix}" for coder in ("encoder", "decoder")]

    def act(y: Tensor, name: str, number: int) -> Tensor:
        if not iopfl:
            return F.leaky_relu(F.instance_norm(y), 0.2)
        weight, bias = state[f"{name}.{number}.weight"], state[f"{name}.{number}.bias"]
        return F.relu(F.batch_norm(y, None, None, weight, bias, training=True))

    def block(y: Tensor, name: str) -> Tensor:
        y = act(conv(y, state[f"{name}.0.weight"], padding=1), name, 1)
        return act(conv(y, state[f"{name}.4.weight"], padding=1), name, 5)

    def up(y: Tensor, name: str) -> Tensor:
        y = conv_up(y, state[f"{name}.0.weight"], state.get(f"{name}.0.bias"), stride=2)
        return y if iopfl else act(y, name, 1)

    skips = [block(x, f"{coders[0]}.blocks.0")]
    for level in range(1, POOLS + 1):
        skips.append(block(down(skips[-1], 2), f"{coders[0]}.blocks.{level}"))
    y = skips.pop()
    for level, skip in enumerate(reversed(skips)):
        y = up(y, f"{coders[1]}.ups.{level}")
        for axis in range(2, 2 + dims):  # the row before the last once more, as a mirror shows it
            if y.shape[axis] < skip.shape[axis]:
                y = torch.cat([y, y.narrow(axis, y.shape[axis] - 2, 1)], axis)
        y = block(torch.cat([y, skip], 1), f"{coders[1]}.blocks.{level}")
    return conv(y, state[f"{coders[1]}.output.weight"], state[f"{coders[1]}.output.bias"])


def drawn(options: dict[str, Any], dims: int, seed: int) -> dict[str, Tensor]:
    """The initial weights that PyTorch's own layers draw in the order in which the paper's network lists them."""
    torch.manual_seed(seed)
    layer, layer_up = {2: (nn.Conv2d, nn.ConvTranspose2d), 3: (nn.Conv3d, nn.ConvTranspose3d)}[dims]
    linear = options.get("upsampling") == "linear"
    widths = [CHANNELS * 2**level for level in range(POOLS + 1)]
    layers: dict[str, nn.Module] = {}

    def block(name: str, before: int, after: int) -> None:
        layers[f"{name}.0"] = layer(before, after, 3, padding=1, bias=False)
        layers[f"{name}.4"] = layer(after, after, 3, padding=1, bias=False)

    for level, (before, after) in enumerate(zip([options.get("in_channels", 1), *widths], widths, strict=False)):
        block(f"encoder.blocks.{level}", before, after)
    for level, width in enumerate(widths[-2::-1]):
        layers[f"decoder.ups.{level}.0"] = layer_up(2 * width, width, 2, stride=2, bias=linear)
    for level, width in enumerate(widths[-2::-1]):
        block(f"decoder.blocks.{level}", 2 * width, width)
    if options.get("decoder") == "refined":
        layers["decoder.refine"] = layer(CHANNELS, CHANNELS, 3, padding=1, bias=False)
    layers["decoder.output"] = layer(CHANNELS, options.get("out_channels", 1), 1)
    return {f"{name}.{key}": value for name, made in layers.items() for key, value in made.state_dict().items()}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("options", [FEDMRI, IOPFL], ids=["FedMRI", "IOP-FL"])
def test_output_is_that_of_the_functions_to_the_bit(options: dict[str, Any], dims: int) -> None:
    network = UNet(channels=CHANNELS, num_pools=POOLS, spatial_dims=dims, **options).train()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    x = torch.randn(2, options.get("in_channels", 1), *SIZE[dims])
    output = network(x)
    assert output.shape == (2, options.get("out_channels", 1), *SIZE[dims])
    assert torch.equal(output, plainly(x, network.state_dict(), options is IOPFL, dims))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("options", [FEDMRI, IOPFL, {"decoder": "refined"}], ids=["FedMRI", "IOP-FL", "refined"])
def test_initial_weights_are_those_that_plain_layers_draw(options: dict[str, Any], dims: int) -> None:
    args = {"channels": CHANNELS, "num_pools": POOLS, "spatial_dims": dims, **options}
    state = build_network({"path": "flare_mri.networks.unet.UNet", "args": args}, seed=11).state_dict()
    expected = drawn(options, dims, seed=11)
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    rest = {key.rpartition(".")[2] for key in set(state) - set(expected)}
    norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert rest == (norm if options is IOPFL else set())


@pytest.mark.parametrize("dims", [2, 3])
def test_both_unets_of_the_dual_domain_network_are_fedmri_s(dims: int) -> None:
    network = DualDomainUNet(channels=CHANNELS, num_pools=POOLS, spatial_dims=dims)
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    x = torch.randn(1, 2, *SIZE[dims])
    for domain in ("kspace", "image"):
        expected = plainly(x, network.state_dict(), False, dims, f".{domain}")
        assert torch.equal(network.decoder[domain](network.encoder[domain](x)), expected)


@pytest.mark.parametrize("size", [(4, 4, 4), (5, 4, 7)])
def test_volumes_down_to_a_single_voxel_train(size: tuple[int, int, int]) -> None:
    network = UNet(channels=2, num_pools=2, spatial_dims=3)
    output = network(torch.randn(1, 1, *size))
    assert output.shape == (1, 1, *size)
    output.square().mean().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in network.parameters())
