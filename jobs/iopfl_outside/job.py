# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""IOP-FL for outsiders: ``flare-mri train iopfl_outside``; this folder's copy of the code is brought up to date too."""

import sys
from pathlib import Path

from flare_mri.program import train_iopfl_outside
from flare_mri.program.main import run_until_stopped
from flare_mri.program.train_iopfl_outside import build_recipe, parse_args

__all__ = ["build_recipe", "main", "parse_args"]


def main(argv: list[str] | None = None) -> int:
    """Run, or with FLARE's ``--export`` write, the job."""
    return train_iopfl_outside.main(argv, Path(__file__).parent)


if __name__ == "__main__":
    sys.exit(run_until_stopped(main))
