# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Reads all data that a site.yaml or a startup kit names, as a job does, before one comes: what is there, and what to
correct.

Every scan is read: size, spacing, orientation, intensities, each organ's volume, masks; scans of the same content,
labels on another grid, and patients whose scans are both learned from and tested are told. Of a startup kit also what
its policies admit; one that lets in or out more than it should is refused. Nothing is sent; with --page a page and a
contact sheet to look at are written, for their owner alone.

examples:
  flare-mri site check site.yaml
  flare-mri site check site.yaml --page look
  flare-mri site check kit --json

exit codes:
  0    done, nothing to correct
  2    a setting or the kit is wrong: one line on stderr
  3    something is to be corrected in the data: a line each on stderr
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from flare_mri.config.cli import Parser
from flare_mri.config.names import check_name
from flare_mri.config.yaml_file import read_yaml
from flare_mri.deploy.kit import site_name
from flare_mri.errors import InputError
from flare_mri.report.extra import check_report_extra

# PyTorch and MONAI take seconds to import: commands import them where they work, never for help or a wrong word.
if TYPE_CHECKING:
    from flare_mri.config.site import SiteConfig
    from flare_mri.program.findings import Findings

TO_CORRECT = 3
"""Exit code where something is to be corrected in the data."""


def open_settings(path: Path) -> tuple[SiteConfig, dict[str, Any]]:
    """The settings of a site.yaml or of a startup kit, and what was found of the kit.

    A site.yaml that names no site is of the one that its folder is called after, as in the folders of the simulator.

    Raises:
        InputError: neither of the two, wrong settings, or a kit that lets in or out more than it should.
    """
    if path.is_dir():
        if not (path / "startup").exists() and (path / "site.yaml").is_file():
            raise InputError(f"{path}: expected a site.yaml or a startup kit, got a folder; give {path / 'site.yaml'}")
        site_name(path)  # a folder that is no kit is told at once
        from flare_mri.deploy.check import check_store, open_kit
        from flare_mri.deploy.kit_policies import check_policies

        site = open_kit(path)
        check_store(site)
        policies = check_policies(path.absolute(), site.config.site)
        return site.config, {"site store": str(site.store_root), **policies}
    name = read_yaml(path, str(path)).get("site")
    if not isinstance(name, str):
        name = path.resolve().parent.name
        try:
            check_name("site", name)
        except InputError:
            name = "site"
    from flare_mri.config.site import load_site_config

    return load_site_config(path, name), {}


def plain(found: Findings, kit: dict[str, Any], volumes: bool) -> dict[str, Any]:
    """All findings in plain values.

    Args:
        found: at the site.
        kit: of its startup kit.
        volumes: whether every scan stands on its own, and every problem.
    """
    from flare_mri.program.findings import summarise

    told: dict[str, Any] = {"site": found.config.site, "settings": str(found.config.file)}
    told["data"] = {name: summarise(findings) for name, findings in found.tasks.items()}
    told |= {**found.ready, **kit, "notes": found.notes, "problems": len(found.problems)}
    if volumes:
        told["problems"] = found.problems
        told["volumes"] = {
            name: [
                {**one.as_dict(), "patient": findings.patients[one.scan.name], "parts": findings.parts[one.scan.name]}
                for one in findings.facts
            ]
            for name, findings in found.tasks.items()
        }
    return told


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = Parser(prog="flare-mri site check", description=__doc__)
    parser.add_argument("settings", type=Path, help="a site.yaml, or a startup kit: it holds startup/ and local/")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="writes index.html and contact-sheet.png there")
    parser.add_argument("--json", action="store_true", help="print JSON, with every scan (default: YAML, counts)")
    parser.add_argument("--seed", type=int, default=0, help="of the job: divides the volumes (default %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what is found; returns 0, 2 for wrong settings, or 3 after a line on stderr for each thing to correct."""
    args = build_parser().parse_args(argv)
    try:
        if args.page is not None:
            check_report_extra("--page")
            from flare_mri.program.page import check_page_folder, write_page  # matplotlib takes a second to import

            check_page_folder(args.page)
        config, kit = open_settings(args.settings)
        from flare_mri.program.findings import look

        found = look(config, args.seed, args.page is not None)
        told = plain(found, kit, args.json)
        if args.page is not None:
            write_page(found, args.page)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for problem in found.problems:
        print(f"problem: {problem}", file=sys.stderr)
    dumped = json.dumps(told, indent=2) if args.json else yaml.safe_dump(told, sort_keys=False, default_flow_style=None)
    print(dumped.rstrip("\n"))
    if args.page is not None:
        print(f"# to look at: {(args.page / 'index.html').resolve()}", file=sys.stderr if args.json else sys.stdout)
    return TO_CORRECT if found.problems else 0
