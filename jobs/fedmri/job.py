# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""FedMRI: personalised MR image reconstruction, and its baselines.

python jobs/fedmri/job.py                                    four phantom sites in FLARE's simulator
python jobs/fedmri/job.py --sites examples/brain             the sites described in that folder
python jobs/fedmri/job.py --method FedAvg                    a baseline
python jobs/fedmri/job.py --no_code --export --export-dir D  the job without code, for sites that installed the package
"""

import argparse
import sys

from flare_mri.errors import InputError
from flare_mri.learners import TrainingSettings
from flare_mri.recipes import FedMRIRecipe
from flare_mri.recipes.simulate import (
    CENTRALISED,
    add_environment_arguments,
    build_environment,
    client_names,
    fail,
    results_path,
)
from flare_mri.report.results import load_results, summary_table

DEFAULT = FedMRIRecipe.default_training


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_environment_arguments(parser)
    group = parser.add_argument_group("what to learn")
    group.add_argument("--name", default="fedmri", help="name of the job (default %(default)s)")
    group.add_argument("--method", choices=FedMRIRecipe.methods, default="FedMRI")
    group.add_argument("--num_rounds", type=int, default=30)
    group.add_argument("--local_epochs", type=int, default=DEFAULT.local_epochs)
    group.add_argument("--lr", type=float, default=DEFAULT.lr)
    group.add_argument("--lr_step", type=int, default=DEFAULT.lr_step, help="rounds of StepLR; 0 keeps lr constant")
    group.add_argument("--contrastive_weight", type=float, default=DEFAULT.contrastive_weight, help="β of the paper")
    group.add_argument("--fedprox_mu", type=float, default=0.01, help="μ of --method FedProx")
    group.add_argument("--negatives", choices=["all", "own", "none"], default="all")
    group.add_argument("--negatives_dtype", choices=["float32", "bfloat16"], default="float32")
    group.add_argument("--channels", type=int, default=32, help="channels of the U-Net's first level")
    group.add_argument("--num_pools", type=int, default=4)
    group.add_argument("--decoder", choices=["plain", "refined"], default="plain")
    group.add_argument("--norm", choices=["instance", "batch"], default="instance")
    group.add_argument("--domain", choices=["image", "dual"], default="image", help="dual: k-space, then image")
    group.add_argument("--seed", type=int, default=DEFAULT.seed)
    group.add_argument("--require_site_config", action="store_true", help="refuse sites that would use the phantom")
    group.add_argument("--min_sites", type=int, help="good updates a round needs (default: all sites)")
    return parser.parse_args(argv)


def build_recipe(args: argparse.Namespace) -> FedMRIRecipe:
    """The recipe the arguments describe."""
    networks = {"image": "flare_mri.networks.unet.UNet", "dual": "flare_mri.networks.dual_domain.DualDomainUNet"}
    network_args = {"channels": args.channels, "num_pools": args.num_pools, "decoder": args.decoder, "norm": args.norm}
    training = TrainingSettings(
        lr=args.lr,
        lr_step=args.lr_step,
        local_epochs=args.local_epochs,
        contrastive_weight=args.contrastive_weight,
        seed=args.seed,
    )
    return FedMRIRecipe(
        name=args.name,
        method=args.method,
        min_clients=args.min_sites or (1 if args.method == CENTRALISED else len(client_names(args))),
        num_rounds=args.num_rounds,
        network={"path": networks[args.domain], "args": network_args},
        training=training,
        fedprox_mu=args.fedprox_mu,
        negatives=args.negatives,
        negatives_dtype=args.negatives_dtype,
        require_site_config=args.require_site_config,
        include_code=not args.no_code,
    )


def main(argv: list[str] | None = None) -> int:
    """Run, or with FLARE's ``--export`` write, the job."""
    args = _parse_args(argv)
    try:
        recipe = build_recipe(args)
        recipe.execute(build_environment(args))
    except InputError as e:
        return fail(e)
    if args.env == "sim":
        path = results_path(args.workspace, args.name)
        print(summary_table(load_results(path)), f"\nresults: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
