# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Shared layers: which entries of a network's state every hospital shares, and which stay at home."""

from collections.abc import Iterable, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from flare_mri.errors import InputError
from flare_mri.networks.encoders import encoder_prefixes

SHARED_LAYERS = ("encoder", "all", "all_but_last", "all_but_norm", "none")
NORM_LAYERS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def shared_keys(network: nn.Module, shared_layers: str | Sequence[str]) -> list[str]:
    """The names of the shared parameters and buffers, in the order of ``network.state_dict()``.

    Args:
        network: any module.
        shared_layers: one of :data:`SHARED_LAYERS`,

            - ``"encoder"``: contracting path and bottleneck, see :mod:`flare_mri.networks.encoders` (FedMRI);
            - ``"all"``: everything (FedAvg, the global model of IOP-FL);
            - ``"all_but_last"``: all but the last layer, that is the last registered module that owns parameters;
            - ``"all_but_norm"``: all but the whole state of the normalisation layers (FedBN);
            - ``"none"``: nothing (local training);

            or a list of dotted prefixes such as ``["conv_0", "down_1"]``, compared part by part: ``bn1`` takes
            ``bn1.weight`` and leaves ``bn10.weight``.

            A tensor that has several names (as all but the output layer of MONAI's DynUNet) is shared under all of
            them, or under none.

    Raises:
        InputError: a shared_layers that is unknown, or that does not fit this network.

    Example:
        >>> shared_keys(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), "all_but_norm")
        ['0.weight', '0.bias']
    """
    keys = list(network.state_dict())
    if not isinstance(shared_layers, str):
        return _under_prefixes(network, keys, shared_layers)
    if shared_layers == "encoder":
        prefixes = encoder_prefixes(network)
        if not prefixes:
            raise InputError(
                f"shared_layers 'encoder': {type(network).__name__} has no submodule 'encoder', and is none of MONAI's "
                "networks whose encoder is known; choose a method that shares everything, or give a list of dotted "
                f"prefixes, out of its top-level modules {_top_level(keys)}"
            )
        return _under_prefixes(network, keys, prefixes)
    if shared_layers == "all":
        return keys
    if shared_layers == "all_but_last":
        private = _state_of(network, [_last_layer(network)])
    elif shared_layers == "all_but_norm":
        private = _state_of(network, (module for module in network.modules() if isinstance(module, NORM_LAYERS)))
        if not private:
            raise InputError(
                f"shared_layers 'all_but_norm': no normalisation layer of {type(network).__name__} has parameters or "
                f"buffers, so this would share everything; use 'all', or a network with batch norm (norm: batch)"
            )
    elif shared_layers == "none":
        return []
    else:
        raise InputError(
            f"shared_layers: expected one of {', '.join(SHARED_LAYERS)} or a list of dotted prefixes, got "
            f"{shared_layers!r}"
        )
    return [key for key in keys if key not in private]


def _under_prefixes(network: nn.Module, keys: list[str], prefixes: Sequence[str]) -> list[str]:
    if not prefixes or not all(isinstance(prefix, str) for prefix in prefixes):
        raise InputError(f"shared_layers: expected dotted prefixes, got {prefixes!r}; to share nothing use 'none'")
    shared: set[str] = set()
    for prefix in prefixes:
        parts = prefix.removesuffix(".").split(".")
        under = {key for key in keys if key.split(".")[: len(parts)] == parts}
        if not under:
            raise InputError(
                f"shared_layers: prefix {prefix!r} matches nothing in {type(network).__name__}; "
                f"its top-level modules are {_top_level(keys)}"
            )
        shared |= under
    tensors = network.state_dict(keep_vars=True)
    same = {id(tensors[key]) for key in shared}
    return [key for key in keys if id(tensors[key]) in same]


def _state_of(network: nn.Module, modules: Iterable[nn.Module]) -> set[str]:
    """Every key of these modules' state, under all names of a module registered twice (as in MONAI's DynUNet)."""
    wanted = set(modules)
    return {
        f"{name}.{key}" if name else key
        for name, module in network.named_modules(remove_duplicate=False)
        if module in wanted
        for key in module.state_dict()
    }


def _last_layer(network: nn.Module) -> nn.Module:
    layers = [module for module in network.modules() if any(True for _ in module.parameters(recurse=False))]
    if not layers:
        raise InputError(f"shared_layers 'all_but_last': {type(network).__name__} has no parameters; use 'none'")
    return layers[-1]


def _top_level(keys: list[str]) -> str:
    return ", ".join(dict.fromkeys(key.split(".")[0] for key in keys)) or "(none with state)"
