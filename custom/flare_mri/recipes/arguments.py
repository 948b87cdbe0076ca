# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The command-line arguments that both training jobs share."""

import argparse
import json
from dataclasses import replace
from typing import Any

from flare_mri.aggregators import CLIP_NORM, MAX_NORM, MAX_WEIGHT
from flare_mri.errors import InputError
from flare_mri.filters.update_privacy import MECHANISMS
from flare_mri.recipes.simulate import CENTRALISED, client_names
from flare_mri.recipes.training import TrainingRecipe

_DEFAULT = "default %(default)s"


def add_training_arguments(parser: argparse.ArgumentParser, recipe: type[TrainingRecipe]) -> argparse._ArgumentGroup:
    """Arguments that say what the job learns; defaults are the recipe's. Returns the group, for more of them."""
    default = recipe.default_training
    network = recipe.default_network["args"]
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
    group.add_argument("--channels", type=int, default=32, help=f"of the U-Net's first level; {_DEFAULT}")
    group.add_argument("--num_pools", type=int, default=4, help=f"poolings of the U-Net; {_DEFAULT}")
    norm = network.get("norm", "instance")
    group.add_argument("--norm", choices=["instance", "batch"], default=norm, help=f"of the U-Net; {_DEFAULT}")
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
    group.add_argument("--grace", type=int, default=600, help=f"seconds for others after --min_sites; {_DEFAULT}")
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
        "grace": args.grace,
        "max_norm": args.max_norm,
        "clip_norm": args.clip_norm,
        "max_weight": args.max_weight,
        "privacy": {"mechanism": args.privacy, "arguments": args.privacy_arguments or {}} if args.privacy else None,
    }


def add_network_arguments(group: argparse._ArgumentGroup) -> None:
    """For jobs that share the whole network, which may then be any of them."""
    group.add_argument("--network", help="instead of the U-Net, such as monai.networks.nets.BasicUNet")
    group.add_argument("--network_args", type=_json, metavar="JSON", help="its arguments, or more for the U-Net")


def chosen_network(args: argparse.Namespace, default: dict[str, Any]) -> dict[str, Any]:
    """The network of :func:`add_network_arguments`; else ``default`` with what ``--network_args`` adds to it.

    Raises:
        InputError: ``--network_args`` is no JSON object.
    """
    own = {} if args.network_args is None else args.network_args
    if not isinstance(own, dict):
        raise InputError(f'--network_args: expected a JSON object such as {{"dropout": 0.1}}, got {own!r}')
    if args.network:
        return {"path": args.network, "args": own}
    return {"path": default["path"], "args": {**default["args"], **own}}


def recipe_arguments(args: argparse.Namespace, recipe: type[TrainingRecipe]) -> dict[str, Any]:
    """The recipe's arguments as parsed; a job adds its own."""
    network = {**recipe.default_network["args"], "channels": args.channels, "num_pools": args.num_pools}
    training = replace(
        recipe.default_training, lr=args.lr, lr_step=args.lr_step, local_epochs=args.local_epochs, seed=args.seed
    )
    return {
        "name": args.name,
        "method": args.method,
        "min_clients": args.min_sites or (1 if args.method == CENTRALISED else len(client_names(args))),
        "num_rounds": args.num_rounds,
        "network": {"path": recipe.default_network["path"], "args": {**network, "norm": args.norm}},
        "training": training,
        "fedprox_mu": args.fedprox_mu,
        "require_site_config": args.require_site_config,
        "include_code": not args.no_code,
        **_server_arguments(args),
    }
