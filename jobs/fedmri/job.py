# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI: personalised MR image reconstruction, and its baselines.

python jobs/fedmri/job.py                                    four phantom sites in FLARE's simulator
python jobs/fedmri/job.py --sites examples/brain             the sites described in that folder
python jobs/fedmri/job.py --method FedAvg                    a baseline
python jobs/fedmri/job.py --network UNet                     the paper's network (its training: docs/how-to)
python jobs/fedmri/job.py --network monai.networks.nets.BasicUNet   one of MONAI's
python jobs/fedmri/job.py --no_code --export --export-dir D  the job without code, for sites that installed the package
"""

import argparse
import sys
from pathlib import Path

from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.flare.recipes.arguments import add_training_arguments, recipe_arguments
from flare_mri.flare.recipes.network_arguments import refine_decoder
from flare_mri.flare.recipes.simulate import add_environment_arguments, execute


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_environment_arguments(parser)
    group = add_training_arguments(parser, FedMRIRecipe)
    group.add_argument("--refined_at", metavar="SITES", help="sites with the refined decoder, comma separated")
    return parser.parse_args(argv)


def build_recipe(args: argparse.Namespace) -> FedMRIRecipe:
    """The recipe the arguments describe."""
    arguments = recipe_arguments(args, FedMRIRecipe)
    refined = [site.strip() for site in (args.refined_at or "").split(",") if site.strip()]
    networks = {site: refine_decoder(arguments["network"]) for site in refined}
    return FedMRIRecipe(**arguments, site_networks=networks or None)


def main(argv: list[str] | None = None) -> int:
    """Run, or with FLARE's ``--export`` write, the job."""
    args = _parse_args(argv)
    return execute(build_recipe, args, Path(__file__).parent)


if __name__ == "__main__":
    sys.exit(main())
