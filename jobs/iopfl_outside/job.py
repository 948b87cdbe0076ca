# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""IOP-FL outside the federation: a model for hospitals that never trained.

python jobs/iopfl_outside/job.py --clients site-6 --routing_space FILE   FILE is what the job iopfl left on the server
"""

import argparse
import sys
from pathlib import Path

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.config.cli import add_options, given_options
from flare_mri.flare.recipes import IOPFLOutsideRecipe
from flare_mri.flare.recipes.simulate import add_environment_arguments, execute, site_names


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_environment_arguments(parser, clients="outside-1")
    group = parser.add_argument_group("what to do")
    group.add_argument("--name", default="iopfl_outside", help="name of the job; default %(default)s")
    group.add_argument("--routing_space", default="", help="file on the server; else $FLARE_MRI_ROUTING_SPACE there")
    add_options(group, AdaptationSettings)
    group.add_argument("--require_site_config", action="store_true", help="refuse sites that would use the phantom")
    return parser.parse_args(argv)


def build_recipe(args: argparse.Namespace) -> IOPFLOutsideRecipe:
    """The recipe the arguments describe."""
    return IOPFLOutsideRecipe(
        name=args.name,
        min_clients=len(site_names(args)),
        routing_space=args.routing_space,
        require_site_config=args.require_site_config,
        include_code=not args.no_code,
        **given_options(args, AdaptationSettings),
    )


def main(argv: list[str] | None = None) -> int:
    """Run, or with FLARE's ``--export`` write, the job."""
    args = _parse_args(argv)
    return execute(build_recipe, args, Path(__file__).parent, "slice_dice", "dice", "hd95")


if __name__ == "__main__":
    sys.exit(main())
