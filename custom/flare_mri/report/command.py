# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The table of a run, and a page to look at: report.html, which needs no other file and no network.

Of the statistics.json of a job site_statistics, the page alone.

examples:
  flare-mri report results.json
  flare-mri report results.json --stores site_store --out report.html
  flare-mri report statistics.json --out statistics.html

Exit codes are those of flare-mri.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flare_mri.config.cli import Parser
from flare_mri.errors import InputError
from flare_mri.files import read_json
from flare_mri.report.examples import find_examples
from flare_mri.report.extra import check_report_extra
from flare_mri.report.results import load_results, summary_table
from flare_mri.report.volume_scores import find_volume_scores


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = Parser(prog="flare-mri report", description=__doc__)
    parser.add_argument("results", help="results.json of a run (several runs: flare-mri compare), or statistics.json")
    parser.add_argument(
        "--stores",
        action="append",
        default=[],
        metavar="DIR",
        help="folder in or under which site stores, <job>/<site>, lie on this computer; may be given several times; "
        "without it the report has no images and no spread over test volumes",
    )
    parser.add_argument("--out", default="report.html", help="file to write (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=2, help="test slices shown a site (default: %(default)s)")
    parser.add_argument("--metric", action="append", default=[], help="metric to print (default: the main one)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0, or 2 after one line on stderr where an input is wrong.
    """
    args = build_parser().parse_args(argv)
    try:
        if is_statistics(args.results):
            return _report_statistics(args)
        results = load_results(args.results)
        table = summary_table(results, *args.metric)
        stores = find_examples(results, args.stores)
        check_report_extra("report")
        from flare_mri.report.html import write_report  # matplotlib takes a second: only once the inputs are good

        out = write_report(results, stores, args.out, args.examples, find_volume_scores(results, args.stores))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{table}\n\nReport: {out.resolve()}")
    return 0


def is_statistics(path: str) -> bool:
    """Whether a file is one of statistics of sites, and not of a run.

    Raises:
        InputError: it is missing or no JSON.
    """
    found = read_json(Path(path), 2**26, "give the results.json that a finished run wrote")
    return isinstance(found, dict) and "statistics" in found


def _report_statistics(args: argparse.Namespace) -> int:
    if args.stores or args.metric:
        raise InputError(f"{args.results}: expected statistics alone, got more; give this file and --out")
    check_report_extra("report")
    from flare_mri.report.statistics import load_statistics, write_statistics_page

    out = write_statistics_page(load_statistics(Path(args.results)), Path(args.out))
    print(f"Report: {out.resolve()}")
    return 0
