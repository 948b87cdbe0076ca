# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI: personalised MR image reconstruction, and its baselines.

python jobs/fedmri/job.py                                    four phantom sites in FLARE's simulator
python jobs/fedmri/job.py --sites examples/brain             the sites described in that folder
python jobs/fedmri/job.py --method FedAvg                    a baseline
python jobs/fedmri/job.py --network monai.networks.nets.BasicUNet   another network than the paper's
python jobs/fedmri/job.py --no_code --export --export-dir D  the job without code, for sites that installed the package
"""

import argparse
import sys
from pathlib import Path

from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.flare.recipes.arguments import add_training_arguments, recipe_arguments, refuse_with_network
from flare_mri.flare.recipes.simulate import add_environment_arguments, execute

NETWORKS = {"image": "flare_mri.networks.unet.UNet", "dual": "flare_mri.networks.dual_domain.DualDomainUNet"}


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_environment_arguments(parser)
    group = add_training_arguments(parser, FedMRIRecipe)
    group.add_argument("--decoder", choices=["plain", "refined"], help="of the U-Net; default plain")
    group.add_argument("--refined_at", metavar="SITES", help="sites with the second decoder, comma separated")
    group.add_argument("--domain", choices=NETWORKS, help="of the U-Net; dual: k-space, then image; default image")
    return parser.parse_args(argv)


def build_recipe(args: argparse.Namespace) -> FedMRIRecipe:
    """The recipe the arguments describe."""
    refuse_with_network(args, "domain", "refined_at")
    arguments = recipe_arguments(args, FedMRIRecipe, NETWORKS[args.domain or "image"], {"decoder": "plain"})
    refined = {site.strip(): {"decoder": "refined"} for site in (args.refined_at or "").split(",") if site.strip()}
    return FedMRIRecipe(**arguments, site_networks=refined or None)


def main(argv: list[str] | None = None) -> int:
    """Run, or with FLARE's ``--export`` write, the job."""
    args = _parse_args(argv)
    return execute(build_recipe, args, Path(__file__).parent)


if __name__ == "__main__":
    sys.exit(main())
