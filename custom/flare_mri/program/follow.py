# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Shows how a job of a consortium goes, a line a round, until it has ended. Ctrl-C ends the watching, not the job.

examples:
  flare-mri follow JOB --startup_kit lead@coordination.example
  flare-mri follow $(flare-mri submit fedmri --clients hospital-1,hospital-2)

Exit codes are those of flare-mri; 4 says that the job has ended, and not well.
"""

import argparse
import sys
from collections.abc import Sequence

from flare_mri.config.cli import Parser
from flare_mri.config.where import add_startup_kit, check_kit, same_kit
from flare_mri.errors import InputError
from flare_mri.program.main import ENDED_BADLY, STOPPED


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = Parser(prog="flare-mri follow", description=__doc__)
    parser.add_argument("job", help="the id that flare-mri submit printed")
    add_startup_kit(parser)
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="asks so often (%(default)s)")
    return parser


def main(argv: Sequence[str]) -> int:
    """Follows a job; returns 0, 2 after a line on stderr, 4 where it ended badly, 130 after Ctrl-C."""
    args = build_parser().parse_args(argv)
    try:
        if args.every <= 0:
            raise InputError(f"--every: expected seconds above 0, got {args.every}; leave it out")
        check_kit(args.startup_kit)
        # FLARE and PyTorch take seconds to import: commands import them where they work.
        from flare_mri.flare.session import open_session
        from flare_mri.flare.watching import follow, tell_end

        with open_session(args.startup_kit) as session:
            try:
                meta = follow(session, args.job, args.every)
            except KeyboardInterrupt:
                print(f"no longer watched; the job goes on: flare-mri follow {args.job}", file=sys.stderr)
                return STOPPED
            return 0 if tell_end(session, meta, same_kit(args.startup_kit)) else ENDED_BADLY
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
