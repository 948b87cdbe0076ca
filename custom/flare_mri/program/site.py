# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a hospital does with its own data before any job comes: describe them in a site.yaml, and look at all of them.

examples:
  flare-mri site init /data/prostate --out site.yaml --site hospital-1
  flare-mri site check site.yaml --page look
  flare-mri site check kit

Nothing is sent. Exit codes are those of flare-mri.
"""

from collections.abc import Sequence

from flare_mri.program.main import Command, run_command

COMMANDS = {
    "init": Command("flare_mri.program.site_init", "writes a site.yaml with comments from a folder of data"),
    "check": Command("flare_mri.program.site_check", "reads all data of a site.yaml or startup kit: what to correct"),
}


def main(argv: Sequence[str]) -> int:
    """Runs a command of a site; returns its exit code."""
    return run_command(COMMANDS, "flare-mri site", __doc__, argv)
