# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The command-line arguments that both training jobs share."""

import argparse
import inspect
from collections.abc import Mapping
from typing import Any

from flare_mri.config.cli import add_options, given_options, read_json_option
from flare_mri.config.server import ServerSettings
from flare_mri.config.training import TrainingSettings
from flare_mri.errors import InputError
from flare_mri.flare.recipes.simulate import CENTRALISED, site_names
from flare_mri.flare.recipes.training import TrainingRecipe
from flare_mri.networks import UNet


def add_training_arguments(parser: argparse.ArgumentParser, recipe: type[TrainingRecipe]) -> argparse._ArgumentGroup:
    """Arguments that say what the job learns, from the fields of settings; returns the group, for more of them."""
    group = parser.add_argument_group("what to learn")
    group.add_argument("--name", default=recipe.job_name, help="name of the job; default %(default)s")
    described = "; ".join(f"{name}: {method.description.rstrip('.')}" for name, method in recipe.methods.items())
    group.add_argument(
        "--method",
        choices=recipe.methods,
        default=next(iter(recipe.methods)),
        help=f"{described}; default %(default)s",
    )
    add_options(group, TrainingSettings, defaults=recipe.default_training.model_dump())
    _add_network_arguments(group, recipe)
    group.add_argument("--require_site_config", action="store_true", help="refuse sites that would use the phantom")
    server = parser.add_argument_group("the server: rounds, faults, bad updates and privacy")
    server.add_argument("--resume", metavar="JOB", action=_Resume, default=False, help="go on after JOB's last round")
    add_options(server, ServerSettings, defaults={"weighting": recipe.default_weighting})
    for method in recipe.methods.values():
        if method.options.model_fields:
            add_options(parser.add_argument_group(f"of --method {method.name} alone"), method.options)
    return group


class _Resume(argparse.Action):
    """``--resume JOB`` is ``--name JOB`` and the wish to go on with it."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        if namespace.name not in (parser.get_default("name"), values):
            parser.error(
                f"--name {namespace.name} with --resume {values}: a resumed job keeps its name; leave out --name"
            )
        namespace.name, namespace.resume = values, True


def _unet_defaults(recipe: type[TrainingRecipe]) -> dict[str, Any]:
    """Values of the U-Net's flags where they are not given; argparse has None, to tell the two apart."""
    parameters = inspect.signature(UNet).parameters
    own = {name: parameters[name].default for name in ("channels", "num_pools", "norm")}
    return {name: recipe.default_network["args"].get(name, value) for name, value in own.items()}


def _add_network_arguments(group: argparse._ArgumentGroup, recipe: type[TrainingRecipe]) -> None:
    default = _unet_defaults(recipe)
    group.add_argument("--channels", type=int, help=f"of the U-Net's first level; default {default['channels']}")
    group.add_argument("--num_pools", type=int, help=f"poolings of the U-Net; default {default['num_pools']}")
    group.add_argument("--norm", choices=["instance", "batch"], help=f"of the U-Net; default {default['norm']}")
    group.add_argument("--network", help="instead of the U-Net, such as monai.networks.nets.BasicUNet")
    group.add_argument(
        "--network_args", type=read_json_option, metavar="JSON", help="its arguments, or more for the U-Net"
    )


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
    training = {**recipe.default_training.model_dump(), **given_options(args, TrainingSettings)}
    settings = given_options(args, ServerSettings)
    for method in recipe.methods.values():
        settings |= given_options(args, method.options)
    all_sites = 1 if args.method == CENTRALISED else len(site_names(args))
    min_sites = settings.pop("min_sites", all_sites)
    return {
        **settings,
        "name": args.name,
        "method": args.method,
        "min_clients": min_sites,
        "network": _network(args, path or default["path"], default["args"], flags),
        "training": TrainingSettings.read(training, "command line"),
        "resume": args.resume,
        "require_site_config": args.require_site_config,
        "include_code": not args.no_code,
    }
