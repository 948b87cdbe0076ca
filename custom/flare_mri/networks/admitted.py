# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Networks that a job may name, and the arguments it may give them: nothing that fetches, reads or writes."""

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from flare_mri.config.network import OWN, UNROLLED, NetworkSettings
from flare_mri.errors import InputError

PACKAGES = ("flare_mri.networks.", "monai.networks.nets.")
_MONAI = "monai.networks.nets"
_TAKES = {"spatial_dims", "in_channels", "out_channels"}
_FETCHES = {"pretrained", "url"}  # words in names of MONAI's arguments that make a constructor download something
_TEXT = re.compile(r"[A-Za-z0-9_ .-]{0,64}\Z")  # names of layers, norms and backbones; no URL and no path
_LONGEST, _DEEPEST, _LARGEST = 64, 4, 2**20
_REPEATS = {"num", "depth", "depths", "layers", "blocks", "units", "levels"}  # words in names that count modules
_MOST_REPEATS = 64


def network_class(spec: Any) -> type[nn.Module]:
    """The class that a network's settings name.

    Admitted are this package's networks, and those of ``monai.networks.nets`` that take ``spatial_dims``,
    ``in_channels`` and ``out_channels``.

    Args:
        spec: ``{"path": ..., "args": {...}}``, see :class:`~flare_mri.config.network.NetworkSettings`.

    Raises:
        InputError: no such settings, a path that names nothing, or a class that is not admitted.
    """
    if not isinstance(spec, Mapping):
        raise InputError(
            f"network: expected {{'path': '{OWN[0]}', 'args': {{...}}}}, got {spec!r:.200}; correct the job"
        )
    path = NetworkSettings.read(spec, "network").path
    if not path.startswith(PACKAGES):
        raise InputError(f"network path: expected a class under {' or '.join(PACKAGES)}, got {path!r:.200}")
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"network path: {path!r} does not exist ({error}); check its spelling") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"network path: expected a torch.nn.Module class, got {path!r}, a {type(found).__name__}")
    if not _is_admitted(found):
        raise InputError(
            f"network path: {path!r} is not admitted: expected one of {', '.join(OWN)} or a class of {_MONAI} that "
            f"takes {', '.join(sorted(_TAKES))}; choose another"
        )
    return found


def full_name(spec: Any) -> str:
    """The one name of the class that a network's settings name, whatever alias they use; policies list it.

    Raises:
        InputError: as :func:`network_class`.
    """
    found = network_class(spec)
    return f"{_MONAI}.{found.__name__}" if found.__module__.startswith(f"{_MONAI}.") else _own_name(found)


def full_names(spec: Any) -> tuple[str, ...]:
    """The full names of the class that a network's settings name and of the regulariser within it, if it names one.

    Raises:
        InputError: as :func:`network_class`, of either.
    """
    name, args = full_name(spec), spec.get("args")
    if name == UNROLLED and isinstance(args, Mapping) and "regulariser" in args:
        return name, full_name({"path": args["regulariser"]})
    return (name,)


def check_arguments(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a network's settings, which may be left out there.

    Raises:
        InputError: an argument that the class does not take, one that makes MONAI download weights, or a value other
            than numbers, truth values, short names, and lists and mappings of these: URLs and paths are none.
    """
    found, args = network_class(spec), NetworkSettings.read(spec, "network").args
    known = [name for name, p in inspect.signature(found).parameters.items() if p.kind is not p.VAR_KEYWORD]
    for name, value in args.items():
        if name not in known:
            raise InputError(
                f"network {spec['path']}: {name!r:.80} is no argument of it; it takes {', '.join(known)}; correct it"
            )
        if _FETCHES & set(name.split("_")) and value not in (None, False):
            raise InputError(
                f"network {spec['path']}: {name}: expected none, since nothing is downloaded, got {value!r:.80}; leave "
                "it out"
            )
        if set(name.split("_")) & _REPEATS and "channels" not in name and _largest(value) > _MOST_REPEATS:
            raise InputError(
                f"network {spec['path']}: {name}: expected at most {_MOST_REPEATS}, got {value!r:.80}; correct it"
            )
        if not _plain(value):
            raise InputError(
                f"network {spec['path']}: {name}: expected numbers or short names, no URL and no path, got "
                f"{value!r:.80}; correct it"
            )
    return dict(args)


def _is_admitted(found: type[nn.Module]) -> bool:
    if found.__module__.startswith(f"{_MONAI}."):
        exported = getattr(importlib.import_module(_MONAI), found.__name__, None)
        return exported is found and set(inspect.signature(found).parameters) >= _TAKES
    return _own_name(found) in OWN


def _own_name(found: type) -> str:
    return f"{found.__module__}.{found.__name__}"


def _largest(value: Any) -> float:
    values = value if isinstance(value, (list, tuple)) else [value]
    return max((abs(v) for v in values if isinstance(v, (int, float))), default=0)


def _plain(value: Any, depth: int = 0) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, (int, float)):
        return abs(value) <= _LARGEST  # NaN is not
    if isinstance(value, str):
        return bool(_TEXT.match(value))
    if depth >= _DEEPEST or not isinstance(value, (list, tuple, Mapping)) or len(value) > _LONGEST:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _plain(k) and _plain(v, depth + 1) for k, v in value.items())
    return all(_plain(item, depth + 1) for item in value)
