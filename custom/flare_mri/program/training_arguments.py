# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The command-line arguments that both training jobs share."""

import argparse
from pathlib import Path
from typing import Any

from flare_mri.config.cli import add_options, given_options
from flare_mri.config.server import ServerSettings
from flare_mri.config.training import OTHERS, TrainingSettings
from flare_mri.config.where import site_names
from flare_mri.methods.centralised import METHOD as CENTRALISED
from flare_mri.methods.systems import System
from flare_mri.program.network_arguments import add_network_arguments, read_network


def add_training_arguments(parser: argparse.ArgumentParser, system: System) -> argparse._ArgumentGroup:
    """Arguments that say what the job learns, from the fields of settings; returns the group, for more of them."""
    group = parser.add_argument_group("what to learn")
    group.add_argument("--name", default=system.name, help="name of the job; default %(default)s")
    described = "; ".join(f"{name}: {method.description.rstrip('.')}" for name, method in system.methods.items())
    group.add_argument(
        "--method",
        choices=system.methods,
        default=next(iter(system.methods)),
        help=f"{described}; default %(default)s",
    )
    names = [name for name in TrainingSettings.model_fields if name not in OTHERS[system.task]]
    add_options(group, TrainingSettings, names, system.training.model_dump())
    add_network_arguments(group, system.network, system.network_flags)
    group.add_argument("--require_site_config", action="store_true", help="refuse sites that would use the phantom")
    server = parser.add_argument_group("the server: rounds, faults, bad updates and privacy")
    server.add_argument("--resume", metavar="JOB", action=_Resume, default=False, help="go on after JOB's last round")
    add_options(server, ServerSettings, defaults={"weighting": system.weighting})
    for method in system.methods.values():
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


def recipe_arguments(args: argparse.Namespace, system: System) -> dict[str, Any]:
    """The recipe's arguments as parsed; a job adds its own.

    Raises:
        InputError: arguments that contradict each other.
    """
    training = {**system.training.model_dump(), **given_options(args, TrainingSettings)}
    settings = given_options(args, ServerSettings)
    for method in system.methods.values():
        settings |= given_options(args, method.options)
    all_sites = 1 if args.method == CENTRALISED.name else len(site_names(args))
    min_sites = settings.pop("min_sites", all_sites)
    if settings.get("initial_weights") and args.env != "prod":  # the server is this machine, in another folder
        settings["initial_weights"] = str(Path(settings["initial_weights"]).absolute())
    return {
        **settings,
        "name": args.name,
        "method": args.method,
        "min_clients": min_sites,
        "network": read_network(args, system.network),
        "training": TrainingSettings.read(training, "command line"),
        "resume": args.resume,
        "require_site_config": args.require_site_config,
        "include_code": not args.no_code,
    }
