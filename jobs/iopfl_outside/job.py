# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""IOP-FL outside the federation: a model for hospitals that never trained, by test-time routing.

python jobs/iopfl_outside/job.py --clients site-6 --routing_space FILE   FILE is what the job iopfl left on the server
"""

import argparse
import sys

from flare_mri.errors import InputError
from flare_mri.recipes import IOPFLOutsideRecipe
from flare_mri.recipes.simulate import add_environment_arguments, build_environment, client_names, fail, results_path
from flare_mri.report.results import load_results, summary_table


def _parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_environment_arguments(parser)
    group = parser.add_argument_group("what to do")
    group.add_argument("--name", default="iopfl_outside", help="name of the job (default %(default)s)")
    group.add_argument("--routing_space", default="", help="file on the server; else $FLARE_MRI_ROUTING_SPACE there")
    group.add_argument("--epochs", type=int, default=10)
    group.add_argument("--lr", type=float, default=1e-3)
    group.add_argument("--batch_size", type=int, default=8)
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--require_site_config", action="store_true", help="refuse sites that would use the phantom")
    parser.set_defaults(clients="outside-1")
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
        require_site_config=args.require_site_config,
        include_code=not args.no_code,
    )


def main(argv: list[str] | None = None) -> int:
    """Run, or with FLARE's ``--export`` write, the job."""
    args = _parse_args(argv)
    try:
        build_recipe(args).execute(build_environment(args))
    except (InputError, RuntimeError) as e:  # RuntimeError: the simulation failed, FLARE says where its logs are
        return fail(e)
    if args.env == "sim":
        path = results_path(args.workspace, args.name)
        print(f"{summary_table(load_results(path), 'slice_dice', 'dice', 'hd95')}\nresults: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
