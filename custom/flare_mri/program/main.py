# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The program flare-mri: what a hospital or a lead does with this package, a word for each.

examples:
  flare-mri site init /data/prostate --out site.yaml
  flare-mri site check site.yaml --page look
  flare-mri site check kit
  flare-mri train fedmri --sites examples/brain
  flare-mri statistics --sites examples/hippocampus
  flare-mri apply personal.safetensors --site site.yaml --scans new_scans --out results
  flare-mri route routing_space.safetensors --site site.yaml --scans new_scans --out results
  flare-mri export personal.safetensors --site site.yaml --out bundle
  flare-mri report results.json --stores site_store --out report.html

Every command tells its options with --help. Nothing that a command reads is sent anywhere but by a job.

exit codes:
  0    done
  2    an input is wrong; one line on stderr says file or key, what was expected, what came and what to do
  3    site check: something is to be corrected in the data, a line each on stderr
  130  stopped by Ctrl-C
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

from flare_mri import __version__

STOPPED = 130
"""Exit code of a program that Ctrl-C stopped, as shells have it."""


class Command(NamedTuple):
    """A command: the module whose ``main(argv)`` it is, imported only when it is called, and what it does."""

    module: str
    what: str


COMMANDS = {
    "site": Command(
        "flare_mri.program.site", "a hospital's data: site init writes its site.yaml, site check reads all of it"
    ),
    "train": Command(
        "flare_mri.program.train", "a job: FedMRI, IOP-FL or a baseline, in the simulator or a consortium"
    ),
    "statistics": Command("flare_mri.program.statistics", "a job: what data the sites have, before anyone trains"),
    "apply": Command("flare_mri.apply", "a hospital's own model on new scans"),
    "route": Command("flare_mri.route", "a model for a hospital that never trained, from a routing space"),
    "export": Command("flare_mri.export", "a hospital's segmentation model as a MONAI bundle"),
    "report": Command("flare_mri.report.command", "the table of one or several runs, and a page to look at"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    try:
        return run_command(COMMANDS, "flare-mri", __doc__, sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED


def run_command(commands: Mapping[str, Command], program: str, about: str | None, words: Sequence[str]) -> int:
    """Hands all words after the first to the command that the first one names.

    Args:
        commands: by name.
        program: how help and errors call the program.
        about: what help says of it.
        words: of the command line.

    Returns:
        The command's exit code; argparse ends the process itself where the words name no command.
    """
    if words and words[0] in commands:
        given = sys.argv[1:]
        module = import_module(commands[words[0]].module)
        # As it is imported, FLARE takes --export and --export-dir out of sys.argv: they are no longer the command's.
        ahead = len(given) - len(words)
        if given[max(ahead, 0) :] == list(words):
            words = sys.argv[1 + ahead :]
        return module.main(list(words[1:]))
    parser = argparse.ArgumentParser(
        prog=program,
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"flare-mri {__version__}")
    # argparse finds the column of the texts by this word and by names without their indentation
    heading = "COMMAND".ljust(max(map(len, commands)) + 2)
    group = parser.add_subparsers(title="commands", metavar=heading, required=True)
    for name, command in commands.items():
        group.add_parser(name, help=command.what, add_help=False)
    parser.parse_args(words)
    return parser.error("expected a command first, got options before it; write the command, then its options")
