# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The completion script of a shell, made from the parsers of all commands by shtab, the extra `completion`."""

import argparse
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from flare_mri.errors import InputError

SHELLS = ("bash", "zsh")


def whole_parser() -> argparse.ArgumentParser:
    """One parser with every command and its options, as shells complete them."""
    from flare_mri.program.main import COMMANDS  # it imports this module

    parser = argparse.ArgumentParser(prog="flare-mri")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--completion", choices=SHELLS)
    _add_commands(parser, COMMANDS)
    return parser


def _add_commands(parser: argparse.ArgumentParser, commands: Mapping[str, tuple[str, str]]) -> None:
    group = parser.add_subparsers()
    for name, (path, what) in commands.items():
        module = import_module(path)
        if hasattr(module, "build_parser"):
            group.add_parser(name, help=what, parents=[module.build_parser()], add_help=False)
        else:
            _add_commands(group.add_parser(name, help=what), module.COMMANDS)


def completion_script(shell: str) -> str:
    """What a shell is to read; files complete as they do.

    Args:
        shell: of :data:`SHELLS`.

    Raises:
        InputError: shtab is not installed.
    """
    if find_spec("shtab") is None:
        raise InputError("--completion: expected the package shtab, got none; pip install 'flare-mri[completion]'")
    import shtab

    parser = whole_parser()
    _complete_files(parser, shtab.FILE)
    return shtab.complete(parser, shell=shell, root_prefix="flare_mri")


def _complete_files(parser: argparse.ArgumentParser, files: Mapping[str, Any]) -> None:
    """What takes a value of its own, and is no choice or number, may be a file."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in set(action.choices.values()):
                _complete_files(part, files)
        elif action.choices is None and action.nargs != 0 and action.type not in (int, float):
            action.complete = files  # type: ignore[attr-defined]
