# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
r"""A routed network from any network: its layers replaced by routed ones that hold the same layer of every expert.

The experts are IOP-FL's routing space :math:`\{p_1 \dots p_K, \theta_G\}`: the personal models of the inside sites and,
as the last one, the global model (Jiang et al., arXiv 2204.08467).
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from flare_mri.errors import InputError
from flare_mri.networks.state_check import problem_in_state
from flare_mri.routing.layers import RoutedConv, RoutedConvTranspose, RoutedLayer, RoutedLinear, Router
from flare_mri.routing.norm import use_batch_statistics

ROUTED: dict[type[nn.Module], type[RoutedLayer]] = {
    nn.Conv2d: RoutedConv,
    nn.Conv3d: RoutedConv,
    nn.ConvTranspose2d: RoutedConvTranspose,
    nn.ConvTranspose3d: RoutedConvTranspose,
    nn.Linear: RoutedLinear,
}
# Layers with kernels that we do not mix: left as they are they would silently stay the global model's.
UNROUTED = (nn.Conv1d, nn.ConvTranspose1d, nn.Bilinear, nn.MultiheadAttention)


def build_routed_network(
    network: nn.Module,
    experts: Sequence[Mapping[str, Tensor]],
    dropout: float = 0.2,
    hidden_ratio: int = 2,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> nn.Module:
    """A copy of ``network`` in which every convolution and linear layer mixes that layer of all experts.

    Convolutions are Conv2d, Conv3d, ConvTranspose2d and ConvTranspose3d.

    What is not routed (norm layers above all) starts from the last expert, the global model. BatchNorm layers lose
    their running statistics, so that they use those of the batch in every mode. Only BatchNorm's affine parameters and
    the routers' parameters require gradients.

    Args:
        network: gives structure, dtype and device; itself left untouched.
        experts: state dicts of networks like ``network``, the global model's last.
        dropout: of the routers, in [0, 1).
        hidden_ratio: hidden width of the routers over the number of input channels.
        names: what to call the experts in error messages, site names for instance.
        seed: of the routers' initial weights; the caller's random state stays as it was.

    Raises:
        InputError: there is no expert, an expert misses a key, has one too many, a tensor of another shape or one that
            is not finite; the network has no layer to route, or one with kernels that cannot be routed.
    """
    labels = list(names) if names is not None else [f"expert {index}" for index in range(len(experts))]
    if not experts or len(labels) != len(experts):
        raise InputError(
            f"routing space: expected at least one expert and a name for each, got {len(experts)} experts and "
            f"{len(labels)} names; give the personal models and the global model"
        )
    check_routable(network)
    check_experts(network.state_dict(), dict(zip(labels, experts, strict=True)))
    routed = copy.deepcopy(network)
    routed.load_state_dict(experts[-1])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too
        routed = _replace_layers(routed, "", experts, (dropout, hidden_ratio), {})
    routed = use_batch_statistics(routed)
    routed.requires_grad_(False)
    for parameter in adaptable_parameters(routed):
        parameter.requires_grad_(True)
    return routed


def check_routable(network: nn.Module) -> None:
    """See that a network's layers with kernels can be routed; their values do not count.

    Raises:
        InputError: it has no layer to route, or one that cannot be routed.
    """
    found = 0
    for name, module in network.named_modules():
        kind = next((kind for kind in ROUTED if isinstance(module, kind)), None)
        if kind is not None:
            _check_plain(module, kind, name)
            found += 1
        elif isinstance(module, UNROUTED):
            raise InputError(
                f"routing, layer {name!r}: expected {_names()}, got {type(module).__name__}, which cannot be "
                "routed; choose a network without it"
            )
    if not found:
        raise InputError(
            f"routing: expected a network with {_names()} layers, got {type(network).__name__} without any; choose "
            "another network"
        )


def check_axes(network: nn.Module, sample: Tensor) -> None:
    """See that a sample [C, H, W] or [C, D, H, W] has the spatial axes of the network's convolutions.

    Raises:
        InputError: slices for a three-dimensional network, or patches for a two-dimensional one.
    """
    layer = next((module for module in network.modules() if isinstance(module, _ConvNd)), None)
    axes = sample.dim() - 1 if layer is None else layer.weight.dim() - 2
    if sample.dim() - 1 != axes:
        raise InputError(
            f"outside site: expected samples with {axes} spatial axes for {type(network).__name__}, got one of shape "
            f"{tuple(sample.shape)}; choose a network with spatial_dims={sample.dim() - 1}"
        )


def check_experts(expected: Mapping[str, Tensor], experts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """See that every model of a routing space is one of the same network.

    Args:
        expected: the state of that network, with or without values (:func:`flare_mri.networks.build_meta_state`).
        experts: state dicts by name.

    Raises:
        InputError: names the first that misses a key, has one too many, a tensor of another shape or type, or values
            that are not finite.
    """
    for name, expert in experts.items():
        problem = problem_in_state(expected, expert)
        if problem:
            raise InputError(
                f"routing space, {name}: {problem}; use a routing space made with the same network settings, or leave "
                "this model out"
            )


def find_routed_layers(routed: nn.Module) -> dict[str, RoutedLayer]:
    """The routed layers by their dotted name, in order of registration."""
    return {name: module for name, module in routed.named_modules() if isinstance(module, RoutedLayer)}


def adaptable_parameters(routed: nn.Module) -> list[nn.Parameter]:
    """Parameters that learn at an outside site: those of the routers, and the affine ones of BatchNorm layers."""
    learning = (module for module in routed.modules() if isinstance(module, _BatchNorm | Router))
    return [parameter for module in learning for parameter in module.parameters()]


@contextmanager
def record_routing(routed: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """While open, collects the routing weights of every forward pass, by layer, each as a detached [B, E] tensor.

    Example:
        >>> with record_routing(routed) as weights:
        ...     routed(images)
        >>> weights["encoder.blocks.0.0"][0].shape
        torch.Size([8, 6])
    """
    weights: dict[str, list[Tensor]] = {name: [] for name in find_routed_layers(routed)}

    def recorder(name: str):
        return lambda module, args, output: weights[name].append(output.detach())

    handles = [layer.router.register_forward_hook(recorder(name)) for name, layer in find_routed_layers(routed).items()]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


def fix_routing(routed: nn.Module, weights: Tensor | None) -> None:
    """Gives every layer and sample the same routing ``weights`` [E] in place of the routers'; None undoes it.

    One-hot weights make the network that expert, with the norm layers of the global model and batch statistics.
    """
    for layer in find_routed_layers(routed).values():
        if weights is not None and weights.shape != (len(layer.weights),):
            raise InputError(
                f"fixed routing: expected one weight for each of {len(layer.weights)} experts, "
                f"got shape {tuple(weights.shape)}; give a vector of that length"
            )
        layer.router.fixed = None if weights is None else weights.to(layer.weights)


def _replace_layers(
    module: nn.Module,
    name: str,
    experts: Sequence[Mapping[str, Tensor]],
    options: tuple[float, int],
    done: dict[nn.Module, nn.Module],
) -> nn.Module:
    """``module`` with all layers below it routed, or its routed form. ``done`` keeps a layer used twice one layer."""
    if module in done:
        return done[module]
    kind = next((kind for kind in ROUTED if isinstance(module, kind)), None)
    if kind is not None:
        prefix = f"{name}." if name else ""
        weight = module.get_parameter("weight")
        weights = torch.stack([expert[f"{prefix}weight"].to(weight) for expert in experts])
        has_bias = isinstance(module.bias, Tensor)
        biases = torch.stack([expert[f"{prefix}bias"].to(weight) for expert in experts]) if has_bias else None
        done[module] = ROUTED[kind](module, weights, biases, *options)  # type: ignore[arg-type]
        return done[module]
    done[module] = module
    for child_name, child in module._modules.items():
        if child is not None:
            path = f"{name}.{child_name}" if name else child_name
            module._modules[child_name] = _replace_layers(child, path, experts, options, done)
    return module


def _names() -> str:
    *first, last = (kind.__name__ for kind in ROUTED)
    return f"{', '.join(first)} or {last}"


def _check_plain(layer: nn.Module, kind: type[nn.Module], name: str) -> None:
    """Raises InputError for a layer that computes something else than its ``kind`` does."""
    hooked = layer._forward_pre_hooks or layer._forward_hooks
    if type(layer).forward is not kind.forward or parametrize.is_parametrized(layer) or hooked:
        raise InputError(
            f"routing, layer {name!r}: expected a plain {kind.__name__}, got {type(layer).__name__} with its own "
            "forward pass, parametrization or hook; choose a network without it"
        )
