# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The command-line arguments that both training jobs share."""

import argparse
import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flare_mri.errors import InputError
from flare_mri.flare.aggregators import CLIP_NORM, MAX_NORM, MAX_WEIGHT
from flare_mri.flare.filters.update_privacy import MECHANISMS
from flare_mri.flare.recipes.simulate import CENTRALISED, client_names
from flare_mri.flare.recipes.training import TrainingRecipe
from flare_mri.networks import UNet

_DEFAULT = "default %(default)s"


def add_training_arguments(parser: argparse.ArgumentParser, recipe: type[TrainingRecipe]) -> argparse._ArgumentGroup:
    """Arguments that say what the job learns; defaults are the recipe's. Returns the group, for more of them."""
    default = recipe.default_training
    group = parser.add_argument_group("what to learn")
    group.add_argument("--name", default=recipe.job_name, help=f"name of the job; {_DEFAULT}")
    group.add_argument(
        "--method",
        choices=recipe.methods,
        default=next(iter(recipe.methods)),
        help=f"README.md says what each shares; {_DEFAULT}",
    )
    group.add_argument("--num_rounds", type=int, default=30, help=_DEFAULT)
    group.add_argument("--local_epochs", type=int, default=default.local_epochs, help=f"of a round; {_DEFAULT}")
    group.add_argument("--lr", type=float, default=default.lr, help=f"learning rate; {_DEFAULT}")
    group.add_argument(
        "--lr_step", type=int, default=default.lr_step, help=f"rounds of StepLR; 0: constant; {_DEFAULT}"
    )
    group.add_argument("--fedprox_mu", type=float, default=0.01, help=f"μ of --method FedProx; {_DEFAULT}")
    _add_network_arguments(group, recipe)
    group.add_argument("--seed", type=int, default=default.seed, help=_DEFAULT)
    group.add_argument("--min_sites", type=int, help="good updates a round needs (default: all sites)")
    group.add_argument("--require_site_config", action="store_true", help="refuse sites that would use the phantom")
    _add_server_arguments(parser)
    return group


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        raise argparse.ArgumentTypeError(f"expected JSON such as '{{\"epsilon\": 1}}', got {text!r} ({e})") from e


class _Resume(argparse.Action):
    """``--resume JOB`` is ``--name JOB`` and the wish to go on with it."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        if namespace.name not in (parser.get_default("name"), values):
            parser.error(
                f"--name {namespace.name} with --resume {values}: a resumed job keeps its name; leave out --name"
            )
        namespace.name, namespace.resume = values, True


def _add_server_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("faults, bad updates and privacy")
    group.add_argument("--resume", metavar="JOB", action=_Resume, default=False, help="go on after JOB's last round")
    group.add_argument("--round_timeout", type=int, default=0, help="seconds a round may last (default: for ever)")
    group.add_argument(
        "--wait_time_after_min_received",
        type=int,
        default=600,
        help=f"seconds; {_DEFAULT}",
    )
    medians = f"an update whose norm is more than so many times the round's median; 0: none; {_DEFAULT}"
    group.add_argument("--max_norm", type=float, default=MAX_NORM, help=f"leave out {medians}")
    group.add_argument("--clip_norm", type=float, default=CLIP_NORM, help=f"scale down {medians}")
    weight = f"count no more slices of a site than so many times the round's median; 0: all; {_DEFAULT}"
    group.add_argument("--max_weight", type=float, default=MAX_WEIGHT, help=weight)
    group.add_argument("--privacy", choices=MECHANISMS, help="FLARE's filter on what a round changes")
    group.add_argument("--privacy_arguments", type=_json, metavar="JSON", help="of that filter, a JSON object")


def _server_arguments(args: argparse.Namespace) -> dict[str, Any]:
    if args.privacy_arguments and not args.privacy:
        raise InputError("--privacy_arguments: of which filter? give --privacy too")
    return {
        "resume": args.resume,
        "round_timeout": args.round_timeout,
        "wait_time_after_min_received": args.wait_time_after_min_received,
        "max_norm": args.max_norm,
        "clip_norm": args.clip_norm,
        "max_weight": args.max_weight,
        "privacy": {"mechanism": args.privacy, "arguments": args.privacy_arguments or {}} if args.privacy else None,
    }


def _unet_defaults(recipe: type[TrainingRecipe]) -> dict[str, Any]:
    """What the flags of the U-Net stand for where they are not given; argparse has None, to tell the two apart."""
    parameters = inspect.signature(UNet).parameters
    own = {name: parameters[name].default for name in ("channels", "num_pools", "norm")}
    return {name: recipe.default_network["args"].get(name, value) for name, value in own.items()}


def _add_network_arguments(group: argparse._ArgumentGroup, recipe: type[TrainingRecipe]) -> None:
    default = _unet_defaults(recipe)
    group.add_argument("--channels", type=int, help=f"of the U-Net's first level; default {default['channels']}")
    group.add_argument("--num_pools", type=int, help=f"poolings of the U-Net; default {default['num_pools']}")
    group.add_argument("--norm", choices=["instance", "batch"], help=f"of the U-Net; default {default['norm']}")
    group.add_argument("--network", help="instead of the U-Net, such as monai.networks.nets.BasicUNet")
    group.add_argument("--network_args", type=_json, metavar="JSON", help="its arguments, or more for the U-Net")


def _network(args: argparse.Namespace, path: str, default: Mapping[str, Any], flags: Mapping[str, Any]) -> Any:
    """The network of ``--network``; else the U-Net at ``path`` by its flags and what ``--network_args`` adds to them.

    Raises:
        InputError: ``--network_args`` is no JSON object, or says again what a flag says.
    """
    own = {} if args.network_args is None else args.network_args
    if not isinstance(own, dict):
        raise InputError(f'--network_args: expected a JSON object such as {{"dropout": 0.1}}, got {own!r}')
    if args.network:
        return {"path": args.network, "args": own}
    given = {flag: getattr(args, flag) for flag in flags if getattr(args, flag) is not None}
    if twice := sorted(given.keys() & own.keys()):
        raise InputError(f"--network_args: {twice[0]} is what --{twice[0]} says already; leave out one of them")
    return {"path": path, "args": {**default, **flags, **given, **own}}


def refuse_with_network(args: argparse.Namespace, *flags: str) -> None:
    """Flags of our own U-Nets say nothing of another network.

    Raises:
        InputError: ``--network`` and one of them are given.
    """
    given = [f"--{flag}" for flag in flags if getattr(args, flag) is not None]
    if args.network and given:
        raise InputError(
            f"{given[0]} with --network {args.network}: it is of our own U-Nets; leave it out, and give the network's "
            "arguments by --network_args"
        )


def recipe_arguments(
    args: argparse.Namespace,
    recipe: type[TrainingRecipe],
    path: str = "",
    flags: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The recipe's arguments as parsed; a job adds its own.

    Args:
        args: parsed arguments.
        recipe: the job's recipe.
        path: of the U-Net, where it is not the recipe's.
        flags: arguments of the U-Net that are flags of this job alone -> what they stand for where they are not given.

    Raises:
        InputError: arguments that contradict each other.
    """
    flags = {**_unet_defaults(recipe), **(flags or {})}
    refuse_with_network(args, *flags)
    default = recipe.default_network
    training = replace(
        recipe.default_training, lr=args.lr, lr_step=args.lr_step, local_epochs=args.local_epochs, seed=args.seed
    )
    return {
        "name": args.name,
        "method": args.method,
        "min_clients": args.min_sites or (1 if args.method == CENTRALISED else len(client_names(args))),
        "num_rounds": args.num_rounds,
        "network": _network(args, path or default["path"], default["args"], flags),
        "training": training,
        "fedprox_mu": args.fedprox_mu,
        "require_site_config": args.require_site_config,
        "include_code": not args.no_code,
        **_server_arguments(args),
    }
