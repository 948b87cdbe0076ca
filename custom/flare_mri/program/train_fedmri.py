# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI: personalised MR image reconstruction, and its baselines.

flare-mri train fedmri                                    four phantom sites in FLARE's simulator
flare-mri train fedmri --sites examples/brain             the sites described in that folder
flare-mri train fedmri --method FedAvg                    a baseline
flare-mri train fedmri --network UNet                     the paper's network (its training: docs/how-to)
flare-mri train fedmri --network monai.networks.nets.BasicUNet   one of MONAI's
flare-mri train fedmri --no_code --export --export-dir D  the job without code, for sites that installed the package
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flare_mri.config.cli import Parser
from flare_mri.config.where import Where, add_environment_arguments
from flare_mri.errors import InputError, fail
from flare_mri.methods.systems import FEDMRI
from flare_mri.program.network_arguments import refine_decoder
from flare_mri.program.training_arguments import add_training_arguments, recipe_arguments

# FLARE and PyTorch take seconds to import: commands import them where they work, never for help or a wrong word.
if TYPE_CHECKING:
    from flare_mri.flare.recipes import FedMRIRecipe


def build_parser(program: str | None = None, where: Where = add_environment_arguments) -> argparse.ArgumentParser:
    """The options; `program` is what help and errors call it, by default the script, `where` adds where it runs."""
    parser = Parser(prog=program, description=__doc__)
    where(parser)
    group = add_training_arguments(parser, FEDMRI)
    group.add_argument("--refined_at", metavar="SITES", help="sites with the refined decoder, comma separated")
    return parser


def parse_args(argv: Sequence[str] | None = None, program: str | None = None) -> argparse.Namespace:
    """The arguments of a run in the simulator or a POC."""
    return build_parser(program).parse_args(argv)


def build_recipe(args: argparse.Namespace) -> FedMRIRecipe:
    """The recipe the arguments describe."""
    arguments = recipe_arguments(args, FEDMRI)
    refined = [site.strip() for site in (args.refined_at or "").split(",") if site.strip()]
    networks = {site: refine_decoder(arguments["network"]) for site in refined}
    from flare_mri.flare.recipes import FedMRIRecipe

    return FedMRIRecipe(**arguments, site_networks=networks or None)


def main(argv: Sequence[str] | None = None, folder: Path | None = None) -> int:
    """Run, or with ``--export`` write, the job; `folder` is the one of its job.py where that is what runs."""
    args = parse_args(argv, None if folder else "flare-mri train fedmri")
    try:
        recipe_arguments(args, FEDMRI)
    except InputError as error:
        return fail(error)
    from flare_mri.flare.recipes.simulate import execute

    return execute(build_recipe, args, folder)
