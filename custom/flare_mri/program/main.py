# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The program flare-mri: what a hospital or a lead does with this package, a word for each.

examples:
  flare-mri site init /data/prostate --out site.yaml
  flare-mri site check site.yaml --page look
  flare-mri site check kit
  flare-mri train fedmri --sites examples/brain
  flare-mri statistics --sites examples/hippocampus
  flare-mri submit fedmri --clients hospital-1,hospital-2 --startup_kit kit
  flare-mri follow JOB --startup_kit kit
  flare-mri results JOB --out run-1 --startup_kit kit
  flare-mri segment personal.safetensors --site site.yaml --scans new_scans --out results
  flare-mri reconstruct personal.safetensors --site site.yaml --scans new_scans --out results
  flare-mri route routing_space.safetensors --site site.yaml --scans new_scans --out results
  flare-mri export personal.safetensors --site site.yaml --out bundle
  flare-mri report results.json --stores site_store --out report.html
  flare-mri compare runs/*/results.json --against FedAvg --out compare.html

Every command tells its options with --help, --completion bash or zsh prints what completes them:
  flare-mri --completion bash > ~/.local/share/bash-completion/completions/flare-mri

Nothing that a command reads is sent anywhere but by a job, or to the DICOM node that a command names.

exit codes:
  0    done
  2    an input is wrong; one line on stderr says file or key, what was expected, what came and what to do
  3    site check: something is to be corrected in the data, a line each on stderr
  4    follow: the job has ended, and not well
  130  stopped by Ctrl-C
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

from flare_mri import __version__
from flare_mri.errors import InputError
from flare_mri.program.completion import SHELLS, completion_script

STOPPED = 130
"""Exit code of a program that Ctrl-C stopped, as shells have it."""
ENDED_BADLY = 4
"""Exit code of following a job that has ended otherwise than completed."""


class Command(NamedTuple):
    """A command: the module whose ``main(argv)`` it is, imported only when it is called, and what it does."""

    module: str
    what: str


COMMANDS = {
    "site": Command(
        "flare_mri.program.site", "a hospital's data: site init writes its site.yaml, site check reads all of it"
    ),
    "train": Command("flare_mri.program.train", "a job: FedMRI, IOP-FL or a baseline, in the simulator"),
    "statistics": Command("flare_mri.program.statistics", "a job: what data the sites have, before anyone trains"),
    "submit": Command("flare_mri.program.submit", "a job to a consortium that runs; prints the job's id"),
    "follow": Command("flare_mri.program.follow", "how a job of a consortium goes, a line a round"),
    "results": Command("flare_mri.program.results", "what a job of a consortium left, and its table"),
    "segment": Command("flare_mri.segment", "organs in new scans, by a hospital's own model"),
    "reconstruct": Command("flare_mri.reconstruct", "images of new scans, by a hospital's own model"),
    "route": Command("flare_mri.route", "a model for a hospital that never trained, from a routing space"),
    "export": Command("flare_mri.export", "a hospital's model as a MONAI bundle"),
    "report": Command("flare_mri.report.command", "the table of a run, and a page to look at"),
    "compare": Command("flare_mri.program.compare", "one table and page of several runs and seeds, with a paired test"),
}


class _Completion(argparse.Action):
    """Prints the script and ends the program."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        try:
            print(completion_script(values))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            parser.exit(2)
        parser.exit(0)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    return run_until_stopped(lambda: run_command(COMMANDS, "flare-mri", __doc__, words))


def run_until_stopped(work: Callable[[], int]) -> int:
    """The exit code of some work, or of what was stopped by Ctrl-C, after a line."""
    try:
        return work()
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
        return import_module(commands[words[0]].module).main(list(words[1:]))
    parser = argparse.ArgumentParser(
        prog=program,
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"flare-mri {__version__}")
    if commands is COMMANDS:
        told = "print the shell's completion script; needs pip install flare-mri[completion]"
        parser.add_argument("--completion", choices=SHELLS, action=_Completion, help=told)
    # argparse finds the column of the texts by this word and by names without their indentation
    heading = "COMMAND".ljust(max(map(len, commands)) + 2)
    group = parser.add_subparsers(title="commands", metavar=heading, required=True)
    for name, command in commands.items():
        group.add_parser(name, help=command.what, add_help=False)
    if words and not words[0].startswith("-"):
        close = get_close_matches(words[0], commands, 1)
        asked = f"did you mean {close[0]}?" if close else f"{program} --help lists them"
        parser.error(f"expected a command, got {words[0]!r}; {asked}")
    parser.parse_args(words)
    return parser.error("expected a command first, got options before it; write the command, then its options")
