# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""``flare-mri report results.json ... --stores DIR --out report.html``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from flare_mri.errors import InputError
from flare_mri.report.examples import find_examples
from flare_mri.report.extra import check_report_extra
from flare_mri.report.results import load_results, merge_results, summary_table


def _parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="flare-mri report",
        description="Print the table of one or several runs and write a self-contained report.html.",
    )
    parser.add_argument("results", nargs="+", help="results.json of one or several runs; their methods are merged")
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
