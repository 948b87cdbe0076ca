# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Takes what a job left at the server, results.json above all, and prints its table.

The folder is new or empty: nothing is overwritten, and nothing is written elsewhere. Names and archives that come from
the server are checked first. Beside results.json lie the global shared part (app_server), TensorBoard's events, the
job's log and, of IOP-FL, the routing space; hospitals' own models and scores of single scans never are at the server.

examples:
  flare-mri results JOB --out run-1 --startup_kit lead@coordination.example
  flare-mri results JOB --out run-1 --metric slice_dice --metric hd95
  flare-mri compare run-1/results.json run-2/results.json

Exit codes are those of flare-mri.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flare_mri.config.cli import Parser
from flare_mri.config.where import add_startup_kit, check_kit
from flare_mri.errors import InputError
from flare_mri.report.results import load_results, summary_table


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = Parser(prog="flare-mri results", description=__doc__)
    parser.add_argument("job", help="the id that flare-mri submit printed")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new or empty folder")
    parser.add_argument("--metric", action="append", default=[], help="metric to print (default: the main one)")
    add_startup_kit(parser)
    return parser


def check_out(out: Path) -> None:
    """See that nothing would be overwritten.

    Raises:
        InputError: there is something, or the folder cannot be made.
    """
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise InputError(f"--out {out}: expected a new or empty folder, got one with something in it; choose another")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be made ({error.strerror}); choose another folder") from error


def main(argv: Sequence[str]) -> int:
    """Takes the results; returns 0, or 2 after a line on stderr."""
    args = build_parser().parse_args(argv)
    try:
        check_out(args.out)
        check_kit(args.startup_kit)
        # FLARE and PyTorch take seconds to import: commands import them where they work.
        from flare_mri.flare.session import download_job, open_session
        from flare_mri.flare.workflows.run_record import RESULTS_FILE
        from flare_mri.flare.workflows.statistics import STATISTICS_FILE
        from flare_mri.flare.workflows.tracking import tell_curves

        with (
            tempfile.TemporaryDirectory(prefix=".results-", dir=args.out.absolute().parent) as folder,
            open_session(args.startup_kit) as session,
        ):
            download_job(session, args.job, Path(folder)).rename(args.out)
        statistics, path = args.out / STATISTICS_FILE, args.out / RESULTS_FILE
        if statistics.is_file():
            print(f"statistics: {statistics.resolve()}; flare-mri report makes a page of them")
            return 0
        if not path.is_file():
            raise InputError(f"{path}: the job left no results; {args.out / 'error_log.txt'} says why it ended")
        curves = tell_curves(args.out)
        print(summary_table(load_results(path), *args.metric))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"results: {path.resolve()}")
    if curves:
        print(curves)
    return 0
