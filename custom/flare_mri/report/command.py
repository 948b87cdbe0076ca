# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""``flare-mri report results.json ... --stores DIR --out report.html``; of statistics.json a page of their own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flare_mri.errors import InputError
from flare_mri.files import read_json
from flare_mri.report.examples import find_examples
from flare_mri.report.extra import check_report_extra
from flare_mri.report.results import load_results, merge_results, summary_table


def _parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="flare-mri report",
        description="Print the table of one or several runs and write a self-contained report.html; or, of the "
        "statistics.json of a job site_statistics, write its page.",
    )
    parser.add_argument(
        "results",
        nargs="+",
        help="results.json of one or several runs; their methods are merged; or one statistics.json",
    )
    parser.add_argument(
        "--stores",
        action="append",
        default=[],
        metavar="DIR",
        help="folder in or under which <job>/<site>/examples.npz lie on this computer; may be given several times; "
        "without it the report has no images",
    )
    parser.add_argument("--out", default="report.html", help="file to write (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=2, help="test slices shown a site (default: %(default)s)")
    parser.add_argument("--metric", action="append", default=[], help="metric to print (default: the main one)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0, or 2 after one line on stderr where an input is wrong.
    """
    args = _parse_args(argv)
    try:
        if is_statistics(args.results[0]):
            return _report_statistics(args)
        results = merge_results([load_results(path) for path in args.results])
        table = summary_table(results, *args.metric)
        stores = find_examples(results, args.stores)
        check_report_extra("report")
        from flare_mri.report.html import write_report  # matplotlib takes a second: only once the inputs are good

        out = write_report(results, stores, args.out, args.examples)
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
    if len(args.results) > 1 or args.stores or args.metric:
        raise InputError(f"{args.results[0]}: expected statistics alone, got more; give this file and --out")
    check_report_extra("report")
    from flare_mri.report.statistics import load_statistics, write_statistics_page

    out = write_statistics_page(load_statistics(Path(args.results[0])), Path(args.out))
    print(f"Report: {out.resolve()}")
    return 0
