# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Networks routed as a whole: identities, any architecture, strict experts."""

import copy
import functools

import pytest
import torch
from monai.networks.nets import BasicUNet, DynUNet, SegResNet
from torch import nn
from torch.nn import functional as F

from flare_mri.errors import InputError
from flare_mri.networks.unet import UNet
from flare_mri.routing import (
    adaptable_parameters,
    build_routed_network,
    find_routed_layers,
    fix_routing,
    record_routing,
)
from flare_mri.routing.layers import RoutedLayer
from flare_mri.routing.norm import BatchStatisticsNorm


def _unet() -> nn.Module:
    return UNet(in_channels=3, out_channels=2, channels=4, num_pools=2, norm="batch", negative_slope=0.0)


def _basic_unet() -> nn.Module:
    return BasicUNet(spatial_dims=2, in_channels=3, out_channels=2, features=(4, 4, 8, 8, 8, 4), norm="batch")


def _volume_basic_unet(norm: str = "batch") -> nn.Module:
    return BasicUNet(spatial_dims=3, in_channels=3, out_channels=2, features=(4, 4, 4, 4, 4, 4), norm=norm)


def _volume_dynunet(norm: str = "instance") -> nn.Module:
    kernels, strides = [[3, 3, 1], [3, 3, 3], [3, 3, 3]], [[1, 1, 1], [2, 2, 1], [2, 2, 2]]
    return DynUNet(3, 3, 2, kernels, strides, strides[1:], filters=[4, 4, 8], norm_name=norm)


def _volume_segresnet(norm: str = "batch") -> nn.Module:
    return SegResNet(3, 8, 3, 2, norm=norm, blocks_down=(1, 2), blocks_up=(1,))


VOLUMES = [
    pytest.param(functools.partial(make, norm), id=f"{make.__name__}, {norm} norm")
    for make in (_volume_basic_unet, _volume_dynunet, _volume_segresnet)
    for norm in ("batch", "instance")
]


def _images(network: nn.Module) -> torch.Tensor:
    size = (32, 16, 16) if any(isinstance(module, nn.Conv3d) for module in network.modules()) else (32, 32)
    return torch.randn(4, 3, *size, generator=torch.Generator().manual_seed(1))


def _experts(make, number: int = 3) -> list[dict[str, torch.Tensor]]:
    """State dicts as training leaves them: affine parameters and running statistics are not the initial ones."""
    torch.manual_seed(0)
    networks = [make() for _ in range(number)]
    for network in networks:
        for value in (*network.parameters(), *network.buffers()):  # each once, whatever names DynUNet has for it
            if value.dim() == 1 and value.is_floating_point():
                value.data += torch.rand_like(value)
    return [network.state_dict() for network in networks]


def _with_batch_statistics(network: nn.Module) -> nn.Module:
    """The same network that uses the batch's statistics: PyTorch's training mode, but for the dropout layers."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.train()
    return network


@pytest.fixture
def images() -> torch.Tensor:
    return _images(_unet())


@pytest.mark.parametrize("make", [_unet, _basic_unet, *VOLUMES])
@pytest.mark.parametrize("index", [0, 2])
def test_one_hot_routing_is_that_expert(make, index):
    images = _images(make())
    experts = _experts(make)
    routed = build_routed_network(make(), experts).eval()
    fix_routing(routed, F.one_hot(torch.tensor(index), 3).float())
    # Norm layers are the global model's: an expert of its own is one that shares them.
    network = make()
    norms = {key for key in experts[0] if key not in _routed_keys(routed)}
    network.load_state_dict({key: experts[-1 if key in norms else index][key] for key in experts[0]})
    torch.testing.assert_close(routed(images), _with_batch_statistics(network)(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", VOLUMES)
def test_every_sample_of_a_volume_network_has_its_own_mix(make):
    """Against a loop: each layer's own module with the kernels of the routing weights that it recorded."""
    experts = _experts(make)
    routed = build_routed_network(make(), experts).eval()
    plain = dict(make().named_modules())
    layers, seen = find_routed_layers(routed), {}
    for name, layer in layers.items():
        layer.register_forward_hook(  # what follows works in place
            lambda module, args, output, name=name: seen.update({name: (args[0].clone(), output.clone())})
        )
    with record_routing(routed) as weights, torch.no_grad():
        routed(_images(make()))
    for name, layer in layers.items():
        x, output = seen[name]
        assert output.shape[1] == plain[name].out_channels
        for sample, result, row in zip(x, output, weights[name][0], strict=True):
            state = {"weight": torch.tensordot(row, layer.weights, 1)}
            if layer.biases is not None:
                state["bias"] = row @ layer.biases
            expected = torch.func.functional_call(plain[name], state, (sample[None],))[0]
            torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-4)


def _routed_keys(routed: nn.Module) -> set[str]:
    modules = routed.named_modules(remove_duplicate=False)
    names = [name for name, module in modules if isinstance(module, RoutedLayer)]
    return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}


def test_last_expert_alone_is_the_global_model(images):
    experts, network = _experts(_unet), _unet()
    network.load_state_dict(experts[-1])
    routed = build_routed_network(_unet(), experts).eval()
    fix_routing(routed, torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(routed(images), _with_batch_statistics(network)(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weights", [[1 / 3, 1 / 3, 1 / 3], [0.7, 0.1, 0.2]])
def test_equal_experts_are_that_network_whatever_the_mix(weights, images):
    network = _unet()
    routed = build_routed_network(_unet(), [network.state_dict()] * 3).eval()
    fix_routing(routed, torch.tensor(weights))
    torch.testing.assert_close(routed(images), _with_batch_statistics(network)(images), rtol=1e-4, atol=1e-5)


def test_routing_of_equal_experts_only_scales_a_layer(images):
    layer = nn.Conv2d(3, 5, 3, padding=1)
    routed = build_routed_network(layer, [layer.state_dict()] * 3).eval()
    with record_routing(routed) as weights:
        output = routed(images)
    total = weights[""][0].sum(1)[:, None, None, None]
    assert total.min() < total.max()
    torch.testing.assert_close(output / total, layer(images), rtol=1e-4, atol=1e-5)


def test_state_dict_round_trip(images):
    experts = _experts(_unet)
    routed = build_routed_network(_unet(), experts, seed=1).eval()
    other = build_routed_network(_unet(), _experts(_unet)[::-1], seed=2).eval()
    assert not torch.equal(routed(images), other(images))
    other.load_state_dict(routed.state_dict())
    assert torch.equal(routed(images), other(images))


def test_routers_come_from_the_seed_alone():
    experts, network, states = _experts(_unet), _unet(), []
    for seed, caller in ((0, 1), (0, 2), (5, 2)):
        torch.manual_seed(caller)
        expected = torch.rand(3)
        torch.manual_seed(caller)
        states.append(build_routed_network(network, experts, seed=seed).state_dict())
        assert torch.equal(torch.rand(3), expected), "the caller's random state stays as it was"
    key = next(key for key in states[0] if key.endswith("router.fc1.weight"))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0][key], states[2][key])


def test_samples_are_routed_one_by_one(images):
    """Without norms, which mix the batch, a sample's output does not depend on its neighbours."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2, stride=2))
    routed = build_routed_network(network, [_perturbed(network) for _ in range(3)]).eval()
    alone = torch.cat([routed(image[None]) for image in images])
    torch.testing.assert_close(routed(images), alone, rtol=1e-5, atol=1e-5)


def _perturbed(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value + torch.rand_like(value) for key, value in network.state_dict().items()}


def test_only_affine_and_routing_parameters_learn(images):
    routed = build_routed_network(_unet(), _experts(_unet))
    learning = {name for name, parameter in routed.named_parameters() if parameter.requires_grad}
    norms = {name for name, module in routed.named_modules() if isinstance(module, BatchStatisticsNorm)}
    assert learning == {f"{name}.{part}" for name in norms for part in ("weight", "bias")} | {
        f"{name}.router.{part}"
        for name in find_routed_layers(routed)
        for part in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
    }
    assert len(adaptable_parameters(routed)) == len(learning)
    before = {key: value.clone() for key, value in routed.state_dict().items()}
    routed(images).square().mean().backward()
    torch.optim.SGD(adaptable_parameters(routed), lr=1.0).step()
    changed = {key for key, value in routed.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and changed <= learning


def test_evaluation_uses_the_statistics_of_the_batch(images):
    routed = build_routed_network(_unet(), _experts(_unet)).eval()
    assert not [key for key in routed.state_dict() if "running" in key or "num_batches" in key]
    torch.testing.assert_close(
        routed(3 * images + 1)[:, :, 8:-8, 8:-8].std(), routed(images)[:, :, 8:-8, 8:-8].std(), rtol=0.2, atol=0.0
    )


def test_network_given_is_left_untouched():
    network = _unet()
    before = copy.deepcopy(network.state_dict())
    build_routed_network(network, _experts(_unet))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters()) and not find_routed_layers(network)


def test_a_layer_used_twice_stays_one_layer():
    layer = nn.Conv2d(3, 3, 1)
    routed = build_routed_network(
        nn.Sequential(layer, nn.ReLU(), layer), [nn.Sequential(layer, nn.ReLU(), layer).state_dict()]
    )
    assert routed[0] is routed[2]


def test_fixed_routing_can_be_taken_back_and_must_fit(images):
    routed = build_routed_network(_unet(), _experts(_unet)).eval()
    free = routed(images)
    fix_routing(routed, torch.ones(3))
    assert not torch.equal(routed(images), free)
    fix_routing(routed, None)
    assert torch.equal(routed(images), free)
    with pytest.raises(InputError, match="each of 3 experts, got shape"):
        fix_routing(routed, torch.ones(4))


def test_recorded_routing_has_a_row_for_each_sample(images):
    routed = build_routed_network(_unet(), _experts(_unet)).eval()
    with record_routing(routed) as weights:
        routed(images)
        routed(images[:1])
    routed(images)
    assert list(weights) == list(find_routed_layers(routed)) and len(weights) == 13
    assert all([part.shape for part in parts] == [(4, 3), (1, 3)] for parts in weights.values())
