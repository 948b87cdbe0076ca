# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The command-line arguments that say which network a training job learns."""

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from flare_mri.config.cli import read_json_option
from flare_mri.config.network import OWN, U_NET_DEFAULTS, U_NETS, UNROLLED
from flare_mri.errors import InputError

_SHORT_NAMES = {path.rpartition(".")[2]: path for path in OWN}
_CHOICES = {"norm": ("instance", "batch", "group"), "decoder": ("plain", "refined")}
_SAID = {
    "channels": "channels of the first level",
    "num_pools": "poolings",
    "norm": "norm layers",
    "decoder": "kind of decoder",
}
_FLAGS = tuple(_SAID)
_U_NET = U_NETS[0]


def add_network_arguments(group: argparse._ArgumentGroup, default: Mapping[str, Any], flags: Iterable[str]) -> None:
    """Add ``--network``, flags of U-Nets and ``--network_args``.

    Args:
        group: of a job's arguments.
        default: the recipe's network, ``{"path": ..., "args": {...}}``.
        flags: of the U-Net's, those that the job has; with an unrolled network they are of its regularisers.
    """
    unrolled = default["path"] == UNROLLED
    of_unet = default["args"]["regulariser_args"] if unrolled else default["args"]
    whose = "of the cascades' U-Nets" if unrolled else "of the U-Net"
    group.add_argument(
        "--network",
        metavar="NAME",
        help=f"{', '.join(_SHORT_NAMES)}, or a full name such as monai.networks.nets.BasicUNet; default "
        + default["path"].rpartition(".")[2],
    )
    if unrolled:
        cascades = default["args"]["num_cascades"]
        group.add_argument("--num_cascades", type=int, help=f"of UnrolledNetwork; default {cascades}")
    for flag in flags:
        value = of_unet.get(flag, U_NET_DEFAULTS[flag])
        kind: dict[str, Any] = {"choices": _CHOICES[flag]} if flag in _CHOICES else {"type": int}
        group.add_argument(f"--{flag}", help=f"{_SAID[flag]} {whose}; default {value}", **kind)
    group.add_argument(
        "--network_args", type=read_json_option, metavar="JSON", help="further arguments of the network, by name"
    )


def read_network(args: argparse.Namespace, default: Mapping[str, Any]) -> dict[str, Any]:
    """The network that the arguments describe, ``{"path": ..., "args": {...}}``.

    Args:
        args: parsed, of :func:`add_network_arguments`.
        default: the recipe's network; where it is the one that is asked for, its arguments stand for those not given.

    Raises:
        InputError: ``--network_args`` is no JSON object or says again what a flag says, or a flag is of another
            network.
    """
    own = {} if args.network_args is None else args.network_args
    if not isinstance(own, dict):
        raise InputError(f'--network_args: expected a JSON object such as {{"dropout": 0.1}}, got {own!r}')
    path = default["path"] if args.network is None else _SHORT_NAMES.get(args.network, args.network)
    usual = default["args"] if path == default["path"] else {}
    cascades, flags = _given(args, ("num_cascades",)), _given(args, _FLAGS)
    if path == UNROLLED:
        _refuse_twice(cascades, own)
        regulariser = own.get("regulariser", _U_NET)
        of_unet = own.get("regulariser_args", {})
        if regulariser == _U_NET and isinstance(of_unet, dict):
            _refuse_twice(flags, of_unet)
            own = {**own, "regulariser_args": {**usual.get("regulariser_args", {}), **flags, **of_unet}}
        else:
            _refuse(flags, regulariser)
        usual = {key: value for key, value in usual.items() if key != "regulariser_args"}
        return {"path": path, "args": {**usual, **cascades, **own}}
    _refuse(cascades, path)
    if path not in U_NETS:
        _refuse(flags, path)
        return {"path": path, "args": {**usual, **own}}
    _refuse_twice(flags, own)
    full = {flag: usual.get(flag, U_NET_DEFAULTS[flag]) for flag in _FLAGS if hasattr(args, flag)}
    return {"path": path, "args": {**usual, **full, **flags, **own}}


def refine_decoder(network: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a site's network that give its U-Net, or those of its cascades, the second decoder.

    Args:
        network: of :func:`read_network`.

    Raises:
        InputError: a network without U-Nets of this package.
    """
    refined = {"decoder": "refined"}
    if network["path"] in U_NETS:
        return refined
    if network["path"] != UNROLLED or network["args"].get("regulariser", _U_NET) != _U_NET:
        _refuse({"refined_at": None}, network["path"])
    return {"regulariser_args": {**network["args"].get("regulariser_args", {}), **refined}}


def _given(args: argparse.Namespace, flags: Iterable[str]) -> dict[str, Any]:
    values = {flag: getattr(args, flag, None) for flag in flags}
    return {flag: value for flag, value in values.items() if value is not None}


def _refuse_twice(flags: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    if twice := sorted(flags.keys() & own.keys()):
        raise InputError(f"--network_args: {twice[0]} is what --{twice[0]} says already; leave out one of them")


def _refuse(flags: Mapping[str, Any], path: Any) -> None:
    """Flags say nothing of a network that does not have what they set."""
    if flags:
        raise InputError(
            f"--{next(iter(flags))} with network {path}: it has none; leave it out, and give the network's arguments "
            "by --network_args"
        )
