# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""IOP-FL outside the federation: a model for hospitals that never trained.

flare-mri train iopfl_outside --clients site-6 --routing_space FILE   FILE is what the job iopfl left on the server
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.config.cli import Parser, add_options, given_options
from flare_mri.config.where import Where, add_environment_arguments, site_names
from flare_mri.errors import InputError, fail

if TYPE_CHECKING:  # imported where it is used, see train_fedmri
    from flare_mri.flare.recipes import IOPFLOutsideRecipe


def build_parser(program: str | None = None, where: Where = add_environment_arguments) -> argparse.ArgumentParser:
    """The options; `program` is what help and errors call it, by default the script, `where` adds where it runs."""
    parser = Parser(prog=program, description=__doc__)
    where(parser, clients="outside-1")
    group = parser.add_argument_group("what to do")
    group.add_argument("--name", default="iopfl_outside", help="name of the job; default %(default)s")
    group.add_argument("--routing_space", default="", help="file on the server; else $FLARE_MRI_ROUTING_SPACE there")
    add_options(group, AdaptationSettings)
    group.add_argument("--require_site_config", action="store_true", help="refuse sites that would use the phantom")
    return parser


def parse_args(argv: Sequence[str] | None = None, program: str | None = None) -> argparse.Namespace:
    """The arguments of a run in the simulator or a POC."""
    return build_parser(program).parse_args(argv)


def build_recipe(args: argparse.Namespace) -> IOPFLOutsideRecipe:
    """The recipe the arguments describe."""
    from flare_mri.flare.recipes import IOPFLOutsideRecipe

    return IOPFLOutsideRecipe(
        name=args.name,
        min_clients=len(site_names(args)),
        routing_space=args.routing_space,
        require_site_config=args.require_site_config,
        include_code=not args.no_code,
        **given_options(args, AdaptationSettings),
    )


def main(argv: Sequence[str] | None = None, folder: Path | None = None) -> int:
    """Run, or with ``--export`` write, the job; `folder` is the one of its job.py where that is what runs."""
    args = parse_args(argv, None if folder else "flare-mri train iopfl_outside")
    try:
        site_names(args)
        AdaptationSettings.read(given_options(args, AdaptationSettings), "command line")
        if args.routing_space and not args.export:  # the simulated server and the POC's run in folders of their own
            args.routing_space = str(Path(args.routing_space).absolute())
    except InputError as error:
        return fail(error)
    from flare_mri.flare.recipes.simulate import execute

    return execute(build_recipe, args, folder, "slice_dice", "dice", "hd95")
