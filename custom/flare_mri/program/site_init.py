# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a site.yaml, with comments, from what lies in a folder of data.

The format, the size of slices, contrasts, labels and their values are found in the files; what was concluded from them
stands in a comment that begins with "guess", for somebody who knows the data to confirm or to correct. Nothing that is
there is overwritten, and nothing is sent.

examples:
  flare-mri site init /data/prostate
  flare-mri site init /data/brain --out kit/local/site.yaml --site hospital-1 --spatial_size 128 128
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from flare_mri.atomic_file import write_atomically
from flare_mri.config.cli import Parser
from flare_mri.config.data import FORMATS_OF_FILES
from flare_mri.config.names import check_name
from flare_mri.errors import InputError

# PyTorch and MONAI take seconds to import: commands import them where they work, never for help or a wrong word.
if TYPE_CHECKING:
    from flare_mri.program.guesses import Line

_LONGEST = 120  # of a line
_WIDTH = 36  # of a key with its value, where its comment begins; a longer one has its comment above it


def make_text(folder: Path, name: str, given: dict[str, Any], site: str = "") -> str:
    """The text of a site.yaml that can be loaded.

    Args:
        folder: of the data.
        name: of their format.
        given: keys of `data` that are known.
        site: the site's name; empty: the file has none.

    Raises:
        InputError: a file that cannot be read, or data for which no site.yaml can be concluded.
    """
    from flare_mri.io.formats import read_data_settings
    from flare_mri.program.guesses import Line, guess_data, guess_mask, guess_split

    data, facts = guess_data(folder, name, given, site or "site")
    settings = read_data_settings({line.key: line.value for line in data if line.key}, str(folder), folder)
    rest = [*guess_split(facts, settings), *guess_mask(facts, settings)]
    rest += [Line("batch_size", 4, "slices in a training batch"), Line("device", "auto", "auto, cpu, cuda or cuda:N")]
    lines = [
        "# Made by flare-mri site init; each guess is for you to confirm. Every key: docs/reference/site-yaml.md.",
        "# Next: flare-mri site check, which reads all the data as a job does.",
        f"site: {site}" if site else "# site: name of this site in FLARE",
        "data:",
        *_render(data, "  "),
        *_render(rest, ""),
    ]
    return "\n".join(lines) + "\n"


def _render(lines: Iterable[Line], indent: str) -> Iterable[str]:
    for line in lines:
        comment = f"guess: {line.comment}" if line.guess else line.comment
        comment = f"# {''.join(c if c.isprintable() else '?' for c in comment)}" if comment else ""
        if not line.key:
            yield indent + comment
            continue
        value = yaml.safe_dump(line.value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
        value = value.removesuffix("...\n").rstrip()  # the end of a document, after a value that is no list or mapping
        text = f"{indent}{line.key}: {value}"
        if len(text) >= _WIDTH or _WIDTH + len(comment) > _LONGEST:
            yield from [indent + comment] if comment else []
            yield text
        else:
            yield f"{text:<{_WIDTH}}{comment}".rstrip()


def check_text(text: str, site: str) -> None:
    """Reads a site.yaml as a job does.

    Raises:
        InputError: it would be refused.
    """
    from flare_mri.config.site import load_site_config

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "site.yaml"
        path.write_text(text)
        load_site_config(path, site or "site")


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = Parser(prog="flare-mri site init", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the data")
    parser.add_argument("--out", type=Path, default=Path("site.yaml"), help="file to write (default: %(default)s)")
    parser.add_argument("--site", default="", help="name of the site in FLARE (default: none in the file)")
    parser.add_argument("--format", choices=FORMATS_OF_FILES, help="format of the data (default: found in the folder)")
    parser.add_argument("--datalist", type=Path, help="the list of formats with one (default: that in the folder)")
    parser.add_argument(
        "--spatial_size", type=int, nargs=2, metavar=("H", "W"), help="size of slices (default: theirs)"
    )
    return parser


def _find_format(folder: Path, named: str | None) -> str:
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of data, got none; correct the path or mount the data")
    if named:
        return named
    from flare_mri.io.formats import sniff_format

    try:
        return sniff_format(folder)
    except InputError as error:
        raise InputError(
            str(error).replace("set data.format in site.yaml", "give one of its folders, or name it with --format")
        ) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the file; returns 0, or 2 after a line on stderr where the data or a path are wrong."""
    args = build_parser().parse_args(argv)
    try:
        if args.site:
            check_name("site", args.site)
        if args.out.exists():
            raise InputError(
                f"{args.out}: expected no such file, got one; nothing is overwritten, choose another --out"
            )
        given = {"spatial_size": args.spatial_size, "datalist": args.datalist and str(args.datalist.absolute())}
        name = _find_format(args.folder, args.format)
        text = make_text(args.folder.absolute(), name, {key: value for key, value in given.items() if value}, args.site)
        check_text(text, args.site)
        write_atomically(args.out, text, replace=False)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{text}\nWritten: {args.out.resolve()}. Next: flare-mri site check {args.out}")
    return 0
