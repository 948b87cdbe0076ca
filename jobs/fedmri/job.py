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
from dataclasses import replace
from pathlib import Path

from flare_mri.flare.protocol import DEFAULT_NEGATIVES, NEGATIVES, NEGATIVES_DTYPES
from flare_mri.flare.recipes import FedMRIRecipe
from flare_mri.flare.recipes.arguments import add_training_arguments, recipe_arguments, refuse_with_network
from flare_mri.flare.recipes.simulate import add_environment_arguments, execute

NETWORKS = {"image": "flare_mri.networks.unet.UNet", "dual": "flare_mri.networks.dual_domain.DualDomainUNet"}


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_environment_arguments(parser)
    group = add_training_arguments(parser, FedMRIRecipe)
    weight = FedMRIRecipe.default_training.contrastive_weight
    group.add_argument("--contrastive_weight", type=float, default=weight, help="β of the paper; default %(default)s")
    told = "default %(default)s"
    whose = (
        "whose last encoders the term pushes away from; all, as in the paper, sends every site's to every site; " + told
    )
    group.add_argument("--negatives", choices=NEGATIVES, default=DEFAULT_NEGATIVES, help=whose)
    group.add_argument("--negatives_dtype", choices=NEGATIVES_DTYPES, default=NEGATIVES_DTYPES[0], help=told)
    group.add_argument("--decoder", choices=["plain", "refined"], help="of the U-Net; default plain")
    group.add_argument("--refined_at", metavar="SITES", help="sites with the second decoder, comma separated")
    group.add_argument("--domain", choices=NETWORKS, help="of the U-Net; dual: k-space, then image; default image")
    return parser.parse_args(argv)


def build_recipe(args: argparse.Namespace) -> FedMRIRecipe:
    """The recipe the arguments describe."""
    refuse_with_network(args, "domain", "refined_at")
    arguments = recipe_arguments(args, FedMRIRecipe, NETWORKS[args.domain or "image"], {"decoder": "plain"})
    arguments["training"] = replace(arguments["training"], contrastive_weight=args.contrastive_weight)
    refined = {site.strip(): {"decoder": "refined"} for site in (args.refined_at or "").split(",") if site.strip()}
    arguments["site_networks"] = refined or None
    return FedMRIRecipe(**arguments, negatives=args.negatives, negatives_dtype=args.negatives_dtype)


def main(argv: list[str] | None = None) -> int:
    """Run, or with FLARE's ``--export`` write, the job."""
    args = _parse_args(argv)
    return execute(build_recipe, args, Path(__file__).parent)


if __name__ == "__main__":
    sys.exit(main())
