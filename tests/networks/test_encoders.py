# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The encoder of a network: all that the decoder's input comes from, and nothing that comes after it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flare_mri.networks import DualDomainUNet, UNet, build_network, encoder_prefixes, shared_keys
from flare_mri.networks.encoders import NAMES
from monai_networks import ARGUMENTS, spec

DECODERS = {
    "AttentionUnet": [
        *(f"model.1{'.submodule.1' * depth}.{part}" for depth in range(2) for part in ("attention", "upconv", "merge")),
        "model.2",
    ],
    "BasicUNet": ["upcat_1", "upcat_2", "upcat_3", "upcat_4", "final_conv"],
    "DynUNet": ["upsamples", "output_block"],
    "FlexibleUNet": ["decoder", "segmentation_head"],
    "SegResNet": ["up_layers", "up_samples", "conv_final"],
    "SwinUNETR": ["decoder1", "decoder2", "decoder3", "decoder4", "decoder5", "out"],
    "UNet": [f"model{'.1.submodule' * depth}.2" for depth in range(3)],
}


def build(name: str) -> nn.Module:
    return build_network(spec(name, spatial_dims=2, in_channels=1, out_channels=1), seed=0)


def features_and_output(network: nn.Module, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Outputs of the encoder's modules while the network runs, and of the network."""
    features: list[Tensor] = []

    def collect(module: nn.Module, inputs: Any, outputs: Any) -> None:
        features.extend([outputs] if isinstance(outputs, Tensor) else outputs)

    handles = [network.get_submodule(p).register_forward_hook(collect) for p in encoder_prefixes(network)]
    output = network(x)
    for handle in handles:
        handle.remove()
    return features, output


def test_the_table_is_the_tested_one() -> None:
    assert tuple(f"monai.networks.nets.{name}" for name in ARGUMENTS) == NAMES and DECODERS.keys() == ARGUMENTS.keys()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_encoder_and_decoder_make_up_the_state(name: str) -> None:
    network = build(name)
    encoder, decoder = shared_keys(network, "encoder"), shared_keys(network, DECODERS[name])
    assert sorted(encoder + decoder) == sorted(network.state_dict()) and not set(encoder) & set(decoder)
    tensors = network.state_dict(keep_vars=True)
    assert not {id(tensors[key]) for key in encoder} & {id(tensors[key]) for key in decoder}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_features_depend_on_the_encoder_alone_and_the_output_on_both(name: str) -> None:
    torch.manual_seed(0)
    network, x = build(name).eval(), torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        before, first = features_and_output(network, x)
        for key, parameter in network.named_parameters():
            if key not in set(shared_keys(network, "encoder")):
                parameter.add_(torch.randn_like(parameter))
        after, second = features_and_output(network, x)
    assert len(before) == len(after) > 2 and all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_no_gradient_of_the_features_reaches_the_decoder(name: str) -> None:
    torch.manual_seed(0)
    network, shared = build(name).train(), set(shared_keys(build(name), "encoder"))
    features, _ = features_and_output(network, torch.randn(2, 1, 32, 32))
    sum(feature.square().sum() for feature in features).backward()  # type: ignore[union-attr]
    reached = {key for key, parameter in network.named_parameters() if parameter.grad is not None}
    assert reached == {key for key, _ in network.named_parameters()} & shared


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_bottleneck_comes_last_and_is_the_coarsest(name: str) -> None:
    network = build(name).eval()
    outputs: list[Any] = []
    module = network.get_submodule(encoder_prefixes(network)[-1])
    module.register_forward_hook(lambda _, inputs, output: outputs.append(output))
    with torch.no_grad():
        features, _ = features_and_output(network, torch.randn(1, 1, 32, 32))
    bottleneck = outputs[0] if isinstance(outputs[0], Tensor) else outputs[0][-1]
    assert bottleneck.shape[-1] == min(feature.shape[-1] for feature in features) <= 8


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("name", ["UNet", "AttentionUnet"])
def test_networks_that_nest_are_split_at_any_depth(name: str, depth: int) -> None:
    args = {"channels": [4] * depth, "strides": [2] * (depth - 1)}
    network = build_network(spec(name, spatial_dims=2, in_channels=1, out_channels=1, **args), seed=0)
    prefixes = encoder_prefixes(network)
    assert len(prefixes) == depth and all(network.get_submodule(prefix) is not None for prefix in prefixes)
    down = sum(1 for key in shared_keys(network, "encoder") if key.endswith("conv.weight") and "up" not in key)
    assert down == depth * (1 if name == "UNet" else 2), "one convolution a level, or two"


def test_a_tensor_with_two_names_is_shared_under_both_or_neither() -> None:
    network = build("DynUNet")
    tensors = network.state_dict(keep_vars=True)
    for prefixes in (["input_block"], ["skip_layers.downsample"], ["bottleneck", "output_block"]):
        shared = set(shared_keys(network, prefixes))
        same = {id(tensors[key]) for key in shared}
        assert all((key in shared) == (id(value) in same) for key, value in tensors.items())
    assert shared_keys(network, ["input_block"]) == shared_keys(network, ["skip_layers.downsample"])
    assert len(shared_keys(network, "encoder")) > sum(
        key.split(".")[0] in ("input_block", "downsamples", "bottleneck") for key in tensors
    )


def test_our_own() -> None:
    assert encoder_prefixes(UNet(channels=2, num_pools=1)) == ["encoder"]
    assert encoder_prefixes(DualDomainUNet(channels=2, num_pools=1)) == ["encoder.kspace", "encoder.image"]
    assert encoder_prefixes(nn.Sequential(nn.Conv2d(1, 1, 1))) == []
