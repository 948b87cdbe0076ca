# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of the data of all sites, before anyone trains: numbers, sizes, intensities, volumes of organs.

flare-mri statistics                              four phantom sites in FLARE's simulator
flare-mri statistics --sites examples/hippocampus the sites described in that folder
flare-mri statistics --no_code --export --export-dir D   the job without code, for sites that installed the package

Each hospital's own site.yaml says what is held back. Ends in statistics.json and a page to look at; of a consortium's
job, fetch statistics.json and make the page by flare-mri report.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flare_mri.config.cli import Parser, add_options, given_options
from flare_mri.config.server import ServerSettings
from flare_mri.config.tasks import RECONSTRUCTION, SEGMENTATION
from flare_mri.config.where import Where, add_environment_arguments, site_names
from flare_mri.errors import InputError, fail
from flare_mri.report.extra import check_report_extra

if TYPE_CHECKING:  # imported where it is used, see train_fedmri
    from flare_mri.flare.recipes import SiteStatisticsRecipe

_OF_SERVER = ("min_sites", "wait_time_after_min_received")


def build_parser(
    program: str | None = "flare-mri statistics", where: Where = add_environment_arguments
) -> argparse.ArgumentParser:
    """The options; `program` is what help and errors call it, None the script, `where` adds where it runs."""
    parser = Parser(prog=program, description=__doc__)
    where(parser)
    group = parser.add_argument_group("what to tell")
    group.add_argument("--name", default="site_statistics", help="name of the job; default %(default)s")
    group.add_argument(
        "--task", choices=(RECONSTRUCTION, SEGMENTATION), default="", help="whose data; default: each site's first"
    )
    group.add_argument("--bins", type=int, default=8, help="of histograms over patients; default %(default)s")
    group.add_argument("--require_site_config", action="store_true", help="refuse sites that would use the phantom")
    add_options(group, ServerSettings, _OF_SERVER)
    return parser


def parse_args(argv: Sequence[str] | None = None, program: str | None = None) -> argparse.Namespace:
    """The arguments of a run in the simulator or a POC."""
    return build_parser(program).parse_args(argv)


def build_recipe(args: argparse.Namespace) -> SiteStatisticsRecipe:
    """The recipe the arguments describe."""
    from flare_mri.flare.recipes import SiteStatisticsRecipe

    given = {name: value for name, value in given_options(args, ServerSettings).items() if name in _OF_SERVER}
    return SiteStatisticsRecipe(
        name=args.name,
        min_clients=given.pop("min_sites", len(site_names(args))),
        task=args.task,
        bins=args.bins,
        require_site_config=args.require_site_config,
        include_code=not args.no_code,
        **given,
    )


def main(argv: Sequence[str] | None = None, folder: Path | None = None) -> int:
    """Run, or with ``--export`` write, the job; `folder` is the one of its job.py where that is what runs."""
    args = parse_args(argv, None if folder else "flare-mri statistics")
    try:
        site_names(args)
    except InputError as error:
        return fail(error)
    from flare_mri.flare.recipes.job import run_dir
    from flare_mri.flare.recipes.simulate import start
    from flare_mri.flare.workflows.statistics import STATISTICS_FILE

    if status := start(build_recipe, args, folder):
        return status
    if args.env == "sim" and not args.export:
        path = run_dir(args.workspace, args.name) / STATISTICS_FILE
        try:
            check_report_extra("statistics")
            from flare_mri.report.statistics import load_statistics, write_statistics_page

            page = write_statistics_page(load_statistics(path), path.with_suffix(".html"))
        except InputError as error:  # the statistics are there all the same
            print(f"statistics: {path}\nno page: {error}", file=sys.stderr)
            return 0 if path.is_file() else 2
        print(f"statistics: {path}\nto look at: {page.resolve()}")
    return 0
