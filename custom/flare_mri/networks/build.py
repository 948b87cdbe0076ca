# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Networks from a job's settings: the same weights at every hospital and on the server."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from flare_mri.errors import InputError
from flare_mri.networks.admitted import check_arguments, network_class
from flare_mri.networks.shared_layers import shared_keys
from flare_mri.networks.state_check import problem_in_state

MOST_VALUES = 2**29
"""Of a network's state: seventeen times the published U-Net with 64 channels, 2 GiB as float32."""


def build_network(spec: Mapping[str, Any], seed: int) -> nn.Module:
    """Build a network on the CPU; same ``spec`` and ``seed``, same weights. The caller's random state stays as it was.

    Args:
        spec: ``{"path": "flare_mri.networks.unet.UNet", "args": {"channels": 16}}``; ``args`` may be left out.
            ``"config_type": "dict"`` is allowed: it keeps FLARE from building the object itself.
        seed: of the initial weights.

    Raises:
        InputError: a network that is not admitted, or args that it does not take or that are not admitted; see
            :mod:`flare_mri.networks.admitted`.

    Example:
        >>> network = build_network({"path": "monai.networks.nets.BasicUNet", "args": {"spatial_dims": 2}}, seed=1)
    """
    found, args = network_class(spec), check_arguments(spec)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too
            return found(**args)
    except InputError:
        raise
    except Exception as error:  # whatever a foreign constructor raises, it was the args
        raise InputError(
            f"network {spec['path']}: cannot be built with args {args}: {' '.join(str(error).split())}; "
            f"it takes {', '.join(inspect.signature(found).parameters)}"
        ) from error


def check_fits(spec: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """See that a state dict is one of the network that ``spec`` describes, before memory is taken for that network.

    Args:
        spec: as in :func:`build_network`.
        state: tensors by name.

    Raises:
        InputError: a key, a shape or a type differs, or a value is not finite; or as :func:`build_network`.
    """
    check_state(spec, build_meta_state(spec), state)


def check_state(spec: Mapping[str, Any], expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raises InputError with the first key of a state that keeps it from being one like `expected`."""
    problem = problem_in_state(expected, state)
    if problem:
        raise InputError(f"network {spec['path']}: {problem}; the model is another network's")


def build_meta_state(spec: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state of the network that ``spec`` describes, without values: no memory is taken, however large it is.

    Raises:
        InputError: as :func:`build_network`.
    """
    return build_meta_network(spec).state_dict()


def build_meta_network(spec: Mapping[str, Any]) -> nn.Module:
    """The network that ``spec`` describes, on the device ``meta``: structure alone, which takes no memory.

    Raises:
        InputError: as :func:`build_network`.
    """
    with torch.device("meta"), _NumbersThatAreRead():
        return build_network(spec, seed=0)


class _NumbersThatAreRead(TorchFunctionMode):
    """Constructors read back what they ask of ``linspace`` (a rate for each block of SwinUNETR): it needs values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        placed = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**(kwargs or {}), **placed})


def sample_keys(spec: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The entries of a sample that the network of these settings is called with; None where it declares none.

    A network declares them as an attribute, such as ``sample_keys = ("kspace", "mask")``, which may depend on its
    arguments; one that does not is called with the task's image alone.

    Raises:
        InputError: as :func:`build_network`.
    """
    declares = hasattr(network_class(spec), "sample_keys")
    return build_meta_network(spec).sample_keys if declares else None  # type: ignore[return-value]


def check_size(spec: Mapping[str, Any]) -> None:
    """Refuses a network of more than :data:`MOST_VALUES` values, before memory is taken for it.

    Raises:
        InputError: it is larger; or as :func:`build_network`.
    """
    values = sum(value.numel() for value in build_meta_state(spec).values())
    if values > MOST_VALUES:
        raise InputError(
            f"network {spec['path']}: expected at most {MOST_VALUES} values, got {values}; make it smaller"
        )


class SharedPart(nn.Module):
    """The part of a network that travels, as a module: its ``state_dict()`` has the shared keys and no others.

    The server's initial model. It holds state and cannot be called; with
    ``shared_layers="none"`` it is empty.

    Args:
        network: spec for :func:`build_network`.
        shared_layers: as in :func:`flare_mri.networks.shared_layers.shared_keys`.
        seed: of the initial weights.

    Raises:
        InputError: as those two.
    """

    def __init__(self, network: dict[str, Any], shared_layers: str | Sequence[str], seed: int = 0):
        super().__init__()
        whole = build_network(network, seed)
        state, parameters = whole.state_dict(), dict(whole.named_parameters(remove_duplicate=False))
        for key in shared_keys(whole, shared_layers):
            *path, name = key.split(".")
            owner: nn.Module = self
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            if key in parameters:
                owner.register_parameter(name, parameters[key])
            else:
                owner.register_buffer(name, state[key])
