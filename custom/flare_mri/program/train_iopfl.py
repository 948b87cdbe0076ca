# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""IOP-FL: segmentation of an organ, every site with a model of its own; and, with --outside, sites that never train.

flare-mri train iopfl                              five phantom sites in FLARE's simulator
flare-mri train iopfl --method FedAvg              a baseline
flare-mri train iopfl --outside site-6             then adapt to a sixth site that did not train
flare-mri train iopfl --outside site-1,site-2      leave one site out, for each of these in turn
flare-mri train iopfl --sites examples/hippocampus --outside outside-1
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flare_mri.config.adaptation import AdaptationSettings
from flare_mri.config.cli import Parser, add_options, given_options
from flare_mri.config.where import Where, add_environment_arguments, site_names
from flare_mri.errors import InputError, fail
from flare_mri.methods.systems import IOPFL
from flare_mri.program.training_arguments import add_training_arguments, recipe_arguments
from flare_mri.report.results import load_results, merge_results, save_results, summary_table

if TYPE_CHECKING:  # imported where it is used, see train_fedmri
    from flare_mri.flare.recipes import IOPFLRecipe

_OF_OUTSIDE = ("strategy", "epochs")
"""Settings of the job for outside sites that are options here; its other ones are the training's too."""


def build_parser(program: str | None = None, where: Where = add_environment_arguments) -> argparse.ArgumentParser:
    """The options; `program` is what help and errors call it, by default the script, `where` adds where it runs."""
    parser = Parser(prog=program, description=__doc__)
    where(parser)
    group = add_training_arguments(parser, IOPFL)
    outside = "sites, comma separated: for each in turn, train all others and adapt to it"
    group.add_argument("--outside", default="", help=outside)
    add_options(group, AdaptationSettings, _OF_OUTSIDE)
    parser.set_defaults(n_clients=5)
    return parser


def parse_args(argv: Sequence[str] | None = None, program: str | None = None) -> argparse.Namespace:
    """The arguments of a run in the simulator or a POC."""
    return build_parser(program).parse_args(argv)


def build_recipe(args: argparse.Namespace) -> IOPFLRecipe:
    """The recipe the arguments describe."""
    from flare_mri.flare.recipes import IOPFLRecipe

    return IOPFLRecipe(**recipe_arguments(args, IOPFL))


def _with_sites(args: argparse.Namespace, sites: str) -> argparse.Namespace:
    """The arguments for these sites; ``--min_sites`` is of the training, not of them."""
    return argparse.Namespace(**{**vars(args), "clients": sites, "min_sites": None})


def leave_out(args: argparse.Namespace, outside: str) -> dict:
    """Train on all sites but `outside`, then adapt to it; returns the results of both jobs as they stand in files."""
    from flare_mri.flare.recipes import IOPFLOutsideRecipe
    from flare_mri.flare.recipes.simulate import results_path, run_recipe
    from flare_mri.routing.space import SPACE_FILE

    inside = argparse.Namespace(**{**vars(args), "name": f"{args.name}-without-{outside}"})
    names = [name for name in site_names(args) if name != outside]
    if not names:
        raise InputError(f"--outside {outside}: no other site is left to train")
    inside.clients = ",".join(names)
    trained = build_recipe(inside)
    run_recipe(trained, inside)
    run_dir = results_path(args.workspace, inside.name).parent
    recipe = IOPFLOutsideRecipe(
        name=f"{args.name}-outside-{outside}",
        routing_space=str((run_dir / SPACE_FILE).absolute()),
        seed=trained.training.seed,
        include_code=not args.no_code,
        **{key: value for key, value in given_options(args, AdaptationSettings).items() if key in _OF_OUTSIDE},
    )
    run_recipe(recipe, _with_sites(args, outside))
    return load_results(results_path(args.workspace, recipe.name))


def leave_each_out(args: argparse.Namespace) -> None:
    """One table over all sites left out: the model made for each, and all that needs no label beside it."""
    from flare_mri.flare.recipes.simulate import results_path, stores_path
    from flare_mri.routing.space import SPACE_FILE

    merged: dict = {}
    for outside in args.outside.split(","):
        results = leave_out(args, outside.strip())
        if not merged:
            merged = copy.deepcopy(results)
        for method, entry in results["methods"].items():
            merged["methods"].setdefault(method, copy.deepcopy(entry))["sites"].update(entry["sites"])
    path = save_results(merged, args.workspace / f"{args.name}-outside" / "results.json")
    print(f"{summary_table(merge_results([merged]), 'slice_dice', 'dice', 'hd95')}\nresults: {path}")
    for outside in args.outside.split(","):
        trained = results_path(args.workspace, f"{args.name}-without-{outside.strip()}")
        print(f"without {outside.strip()}: inside results: {trained}, routing space: {trained.parent / SPACE_FILE}")
    stores = stores_path(args.workspace) / f"{args.name}-*"
    print(f"kept by the sites, their own models among it: {stores}/<site>")


def main(argv: Sequence[str] | None = None, folder: Path | None = None) -> int:
    """Run, or with ``--export`` write, the job; `folder` is the one of its job.py where that is what runs."""
    args = parse_args(argv, None if folder else "flare-mri train iopfl")
    try:
        if args.outside and (args.env != "sim" or args.export):
            raise InputError("--outside runs two jobs in the simulator; elsewhere submit jobs/iopfl_outside yourself")
        if args.outside:
            site_names(_with_sites(args, args.outside))  # raises where one is not there, before any trains
        recipe_arguments(args, IOPFL)
        if args.outside:
            leave_each_out(args)
            return 0
    except (InputError, RuntimeError) as e:
        return fail(e)
    from flare_mri.flare.recipes.simulate import execute

    return execute(build_recipe, args, folder, "slice_dice", "dice", "hd95")
