# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""IOP-FL outside the federation: a model for hospitals that never trained, by test-time routing.

python jobs/iopfl_outside/job.py --clients site-6 --routing_space FILE   FILE is what the job iopfl left on the server
"""

import argparse
import sys
from pathlib import Path

from flare_mri.flare.recipes import IOPFLOutsideRecipe
from flare_mri.flare.recipes.simulate import add_environment_arguments, client_names, execute
from flare_mri.routing import ENTROPY_REDUCTIONS


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_environment_arguments(parser, clients="outside-1")
    group = parser.add_argument_group("what to do")
    group.add_argument("--name", default="iopfl_outside", help="name of the job; default %(default)s")
    group.add_argument("--routing_space", default="", help="file on the server; else $FLARE_MRI_ROUTING_SPACE there")
    group.add_argument("--epochs", type=int, default=10, help="of the adaptation; default %(default)s")
    group.add_argument("--lr", type=float, default=1e-3, help="learning rate; default %(default)s")
    group.add_argument("--batch_size", type=int, default=8, help="slices in a batch; default %(default)s")
    group.add_argument("--seed", type=int, default=0, help="default %(default)s")
    group.add_argument(
        "--entropy_reduction",
        choices=ENTROPY_REDUCTIONS,
        default="mean",
        help="of the loss: mean over pixels, or the published code's, batch_size / 2 times that; default %(default)s",
    )
    group.add_argument("--require_site_config", action="store_true", help="refuse sites that would use the phantom")
    return parser.parse_args(argv)


def build_recipe(args: argparse.Namespace) -> IOPFLOutsideRecipe:
    """The recipe the arguments describe."""
    return IOPFLOutsideRecipe(
        name=args.name,
        min_clients=len(client_names(args)),
        routing_space=args.routing_space,
        epochs=args.epochs,
        lr=args.lr,
        batch_size=args.batch_size,
        seed=args.seed,
        entropy_reduction=args.entropy_reduction,
        require_site_config=args.require_site_config,
        include_code=not args.no_code,
    )


def main(argv: list[str] | None = None) -> int:
    """Run, or with FLARE's ``--export`` write, the job."""
    args = _parse_args(argv)
    return execute(build_recipe, args, Path(__file__).parent, "slice_dice", "dice", "hd95")


if __name__ == "__main__":
    sys.exit(main())
